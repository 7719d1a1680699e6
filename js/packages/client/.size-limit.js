// As a bundler of today builds it: ES modules, and what is imported lazily is
// a file of its own.
const modifyEsbuildConfig = (config) => ({ ...config, format: "esm" });
const base = { path: "dist/index.js", import: "{ createClient }", gzip: true, modifyEsbuildConfig };

export default [
  { ...base, name: "what a page loads", ignore: ["./live.js"], limit: "6 kB" },
  { ...base, name: "and with the stream, which comes with the first session", limit: "7 kB" },
];
