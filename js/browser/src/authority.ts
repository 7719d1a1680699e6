// Authorities of their own for the tests, as processes: what is tested is what
// is shipped.

import { execFile, execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { inject, onTestFinished } from "vitest";

/** The user that `curfew dev` comes with. Everybody may know the password. */
export const alice = { login: "alice@example.com", password: "demo-password" };

export interface Authority {
  url: string;
  port: number;
  /** Runs a command of the operator and returns what it prints. */
  operator<T = Record<string, unknown>>(...args: string[]): Promise<T>;
  /** Runs one that reads a secret from its standard input. */
  tell(input: string, ...args: string[]): void;
  stop(): Promise<void>;
}

export interface DevSettings {
  idleTimeout?: string;
  lifetime?: string;
  accessLife?: string;
  port?: number;
}

/** Starts `curfew dev`. */
export function startDev(settings: DevSettings = {}): Promise<Authority> {
  const args = ["dev", "--listen", `127.0.0.1:${settings.port ?? 0}`, "-o", "json"];
  if (settings.idleTimeout) args.push("--idle-timeout", settings.idleTimeout);
  if (settings.lifetime) args.push("--lifetime", settings.lifetime);
  if (settings.accessLife) args.push("--access-life", settings.accessLife);
  return start(args);
}

/** Starts `curfew dev` for one test. */
export async function devForTest(settings: DevSettings = {}): Promise<Authority> {
  const authority = await startDev(settings);
  onTestFinished(() => authority.stop());
  return authority;
}

/** Starts `curfew serve` with TLS and a user like dev's. */
export async function startTLS(...flags: string[]): Promise<Authority> {
  const dir = mkdtempSync(join(inject("scratch"), "tls-"));
  const key = join(dir, "key.pem");
  const cert = join(dir, "cert.pem");
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
      "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
    { stdio: "pipe" },
  );
  const authority = await start(
    ["serve", "--listen", "127.0.0.1:0", "--data", join(dir, "data"), "--tls-cert", cert, "--tls-key", key, "--log-level", "warn", "-o", "json", ...flags],
    { SSL_CERT_FILE: cert },
  );
  authority.tell(alice.password, "users", "add", alice.login, "--name", "Alice", "--password-stdin");
  return authority;
}

async function start(args: string[], extra: Record<string, string> = {}): Promise<Authority> {
  const child = spawn(inject("curfew"), args, { stdio: ["ignore", "pipe", "pipe"], env: { ...surroundings(), ...extra } });
  // Also when a test run is broken off.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const running = await greeting(child);
  const env: NodeJS.ProcessEnv = { ...surroundings(), ...extra, CURFEW_AUTHORITY: running.url, CURFEW_OPERATOR_KEY_FILE: running.operator_key_file };
  return {
    url: running.url,
    port: Number(new URL(running.url).port),
    async operator<T>(...words: string[]) {
      const { stdout } = await promisify(execFile)(inject("curfew"), [...words, "-o", "json"], { env });
      return JSON.parse(stdout) as T;
    },
    tell(input: string, ...words: string[]) {
      execFileSync(inject("curfew"), words, { input: input + "\n", env, stdio: ["pipe", "pipe", "pipe"] });
    },
    async stop() {
      process.off("exit", kill);
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      // Streams of browsers that are still open hold it for a while.
      const late = setTimeout(() => child.kill("SIGKILL"), 2000);
      await gone;
      clearTimeout(late);
    },
  };
}

/** The environment, without settings for another authority. */
const surroundings = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CURFEW_")));

/** What the command prints once it serves. */
function greeting(child: ChildProcess): Promise<{ url: string; operator_key_file: string }> {
  return new Promise((resolve, reject) => {
    let out = "";
    let err = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      try {
        resolve(JSON.parse(out));
      } catch {
        // not all of it yet
      }
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`curfew ended with ${code}: ${err}`)));
  });
}

/** Asks the authority whether a token or a session cookie counts. */
export async function isActive(authority: Authority, token: string): Promise<boolean> {
  const answer = await fetch(`${authority.url}/introspect`, { method: "POST", body: new URLSearchParams({ token }) });
  if (!answer.ok) throw new Error(`introspect: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { active: boolean }).active;
}

/** The ids of the demo user's sessions that have not ended. */
export async function liveSessions(authority: Authority): Promise<string[]> {
  const { sessions } = await authority.operator<{ sessions: { id: string; ended_at?: string }[] }>("sessions", "list", "--user", alice.login);
  return sessions.filter((s) => !s.ended_at).map((s) => s.id);
}
