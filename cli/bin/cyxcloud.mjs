#!/usr/bin/env node
import { launch } from "../../companion/bin/launch.mjs";

await launch("cyxcloud", new URL("../main.ts", import.meta.url));
