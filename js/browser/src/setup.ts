// Runs once, before all files: builds what is tested, from the sources as they
// are, and says where it lies.

import { execFileSync } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { TestProject } from "vitest/node";

/** Stands in the built example for the URL of the authority. */
export const placeholder = "http://authority.invalid";

const root = resolve(import.meta.dirname, "../../..");

declare module "vitest" {
  interface ProvidedContext {
    /** The repository. */
    root: string;
    /** The command `curfew`. */
    curfew: string;
    chromium: string;
    /** A directory that is removed at the end. */
    scratch: string;
  }
}

export default function setup(project: TestProject) {
  const chromium = process.env.CHROMIUM ?? "/usr/bin/chromium";
  try {
    accessSync(chromium, constants.X_OK);
  } catch {
    // Tests that nobody ran must not look like tests that passed.
    throw new Error(`No Chromium at ${chromium}. Install it (Debian: apt-get install chromium), or name it in CHROMIUM.`);
  }

  const scratch = mkdtempSync(join(tmpdir(), "curfew-browser-"));
  const clean = () => rmSync(scratch, { recursive: true, force: true });
  const curfew = join(scratch, "curfew");
  try {
    run("go", ["build", "-o", curfew, "./cmd/curfew"]);
    if (!process.env.BROWSER_SUITE_BUILT) {
      for (const name of ["@curfew/client", "@curfew/react"]) run("npm", ["run", "build", "-w", name]);
    }
    // Twice: the second has React's double effects. The address of the authority
    // is put in by whoever serves it.
    const app = join(root, "examples/react-app");
    const build = ["vite", "build", "--emptyOutDir", "--logLevel", "warn", "--outDir"];
    run("npx", [...build, join(scratch, "react")], app, { VITE_AUTHORITY: placeholder });
    run("npx", [...build, join(scratch, "react-development"), "--mode", "development"], app, { VITE_AUTHORITY: placeholder, NODE_ENV: "development" });
  } catch (err) {
    clean();
    throw err;
  }

  project.provide("root", root);
  project.provide("curfew", curfew);
  project.provide("chromium", chromium);
  project.provide("scratch", scratch);
  return clean;
}

function run(command: string, args: string[], cwd = root, env: Record<string, string> = {}) {
  try {
    execFileSync(command, args, { cwd, stdio: "pipe", encoding: "utf8", env: { ...process.env, ...env } });
  } catch (err) {
    const { stdout, stderr } = err as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed in ${cwd}\n${stdout ?? ""}${stderr ?? ""}`);
  }
}
