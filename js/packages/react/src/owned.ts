import { createClient } from "@curfew/client";
import type { Client, Events, Options, SignInInput, State } from "@curfew/client";

/** What is shown before there is a client: on a server, and in the first render. */
export const LOADING: State = { status: "loading", session: null, reason: null };

/**
 * A client that is made at its first use and not before.
 *
 * React may render a tree and throw it away, renders twice in strict mode, and
 * renders on servers. A client has timers, channels and a stream, so none may be
 * made while rendering. This object costs nothing to make; the real client comes
 * with the first effect or click, which only a tree that is really there has.
 */
export class OwnedClient implements Client {
  #options: Options;
  #real: Client | null = null;
  #users = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Keeps the client open until the function that it returns is called. */
  hold(): () => void {
    this.#users++;
    this.#open();
    return () => {
      this.#users--;
      // Not at once: strict mode and fast refresh end an effect and begin it
      // again in the same breath, and a second client is not to come of that.
      queueMicrotask(() => this.#closeIfUnused());
    };
  }

  /** Does nothing: the provider closes it. */
  close(): void {}

  get state(): State {
    return this.#real?.state ?? LOADING;
  }
  get ready(): Promise<State> {
    return this.#open().ready;
  }
  get sessions(): Client["sessions"] {
    return this.#open().sessions;
  }

  fetch: Client["fetch"] = (input, init) => this.#open().fetch(input, init);
  signIn = (input: SignInInput) => this.#open().signIn(input);
  signOut: Client["signOut"] = (options) => this.#open().signOut(options);
  token = () => this.#open().token();
  refresh = () => this.#open().refresh();
  stayActive = () => this.#open().stayActive();
  changePassword: Client["changePassword"] = (input) => this.#open().changePassword(input);
  subscribe = (listener: () => void) => this.#open().subscribe(listener);
  on<K extends keyof Events>(event: K, listener: (e: Events[K]) => void): () => void {
    return this.#open().on(event, listener);
  }

  #open(): Client {
    if (!this.#real) {
      this.#real = createClient(this.#options);
      // A call that comes after the provider is gone is answered, and leaves no
      // stream behind.
      if (this.#users === 0) setTimeout(() => this.#closeIfUnused(), 1000);
    }
    return this.#real;
  }

  #closeIfUnused(): void {
    if (this.#users > 0) return;
    this.#real?.close();
    this.#real = null;
  }
}
