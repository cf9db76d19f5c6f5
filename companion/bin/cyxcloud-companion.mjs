#!/usr/bin/env node
import { launch } from "./launch.mjs";

await launch("cyxcloud-companion", new URL("../main.ts", import.meta.url));
