/** The reference page in a real browser, on wide and narrow screens. */
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/tools.ts";

const CHROMIUM = requireTool("chromium");

let gateway: TestGateway;
let browser: Browser;
beforeAll(async () => {
  if (CHROMIUM === undefined) return;
  gateway = await startGateway();
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
});
afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

test.skipIf(CHROMIUM === undefined).each([1280, 820, 390])(
  "fits %i pixels, tears no name apart, and the browser has nothing to say (needs chromium)",
  async (width) => {
    const tab = await browser.newPage({ viewport: { width, height: 844 } });
    const said: string[] = [];
    tab.on("console", (message) => said.push(message.text()));
    tab.on("pageerror", (error) => said.push(error.message));
    tab.on("response", (answer) => answer.ok() || said.push(`${answer.status()} ${answer.url()}`));
    await tab.goto(`${gateway.url}/docs`);
    expect(await tab.title()).toContain("CyxCloud DataStream");
    expect(await tab.evaluate("document.documentElement.scrollWidth")).toBe(width);
    const names = await tab
      .locator("td:first-child code")
      .evaluateAll((cells) =>
        (cells as unknown as { textContent: string; offsetHeight: number }[]).map(
          ({ textContent, offsetHeight }) => ({ textContent, offsetHeight }),
        ),
      );
    expect(names.length).toBeGreaterThan(500);
    const torn = names.filter(
      ({ textContent, offsetHeight }) => offsetHeight > 25 * textContent.split("-").length,
    );
    expect(torn).toEqual([]);
    expect(said).toEqual([]);
    await tab.close();
  },
);
