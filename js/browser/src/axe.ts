import axe from "axe-core";
import type { AxeResults } from "axe-core";
import type { Page } from "playwright-core";

/** What axe-core finds wrong with a page as it is now, one line each. */
export async function violations(page: Page): Promise<string[]> {
  // Evaluated by the debugger, which no Content-Security-Policy binds.
  await page.evaluate(axe.source);
  const results = await page.evaluate(() => 
    // Details of what is in order take as long again to gather.
    (window as unknown as { axe: { run(o: object): Promise<AxeResults> } }).axe.run({ resultTypes: ["violations"] }),
  );
  return results.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary ?? v.help}`));
}
