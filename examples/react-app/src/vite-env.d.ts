interface ImportMetaEnv {
  /** URL of the authority. */
  readonly VITE_AUTHORITY?: string;
}
