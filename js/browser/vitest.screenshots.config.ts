import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["src/screenshots.ts"],
    globalSetup: ["src/setup.ts"],
    pool: "forks",
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
