import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The address is written down, because the authority has to know the origins of
// pages; `curfew dev` takes every one on this machine.
export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", port: 5173 },
  preview: { host: "127.0.0.1", port: 4173 },
});
