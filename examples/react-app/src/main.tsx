import { AuthProvider } from "@curfew/react";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { options } from "./options";
import "./styles.css";

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <AuthProvider options={options}>
      <App />
    </AuthProvider>
  </StrictMode>,
);
