import { act, renderHook } from "@testing-library/react";
import type { ReactNode } from "react";
import { describe, expect, test } from "vitest";
import { AuthProvider, useLogout, useSessions } from "../src/index.js";
import { bad, device, fakeClient, good, later, receipt, signedIn, signedOut } from "./fake.js";
import type { FakeClient } from "./fake.js";
import type { Device, Receipt, Result } from "@curfew/client";

const mine = device("session-alice", { current: true });

/** A client with an authority that remembers what was ended. */
function withDevices(...ids: string[]) {
  const fake = fakeClient();
  let all = [mine, ...ids.map((id) => device(id))];
  fake.client.sessions.list.mockImplementation(async () => good(all));
  fake.client.sessions.end.mockImplementation(async (id) => {
    all = all.filter((d) => d.id !== id);
    return good(receipt());
  });
  fake.client.sessions.endOthers.mockImplementation(async () => {
    const n = all.length - 1;
    all = [mine];
    return good(receipt({ scope: "others", sessionsEnded: n }));
  });
  return fake;
}

async function sessionsOf(fake: FakeClient) {
  const wrapper = ({ children }: { children: ReactNode }) => <AuthProvider client={fake.client}>{children}</AuthProvider>;
  const hook = renderHook(useSessions, { wrapper });
  await act(async () => {});
  return hook.result;
}
const ids = (sessions: readonly Device[] | null) => sessions?.map(({ id }) => id);

describe("useSessions", () => {
  test("lists", async () => {
    const fake = withDevices("phone");
    const answer = later<Result<Device[]>>();
    fake.client.sessions.list.mockReturnValue(answer.promise);
    const hook = await sessionsOf(fake);
    expect(hook.current).toMatchObject({ sessions: null, loading: true, error: null });
    await act(async () => answer.answer(good([mine, device("phone")])));
    expect(ids(hook.current.sessions)).toEqual(["session-alice", "phone"]);
    expect(hook.current.loading).toBe(false);
  });

  test("ends one: gone at once, with a receipt, and asked for again", async () => {
    const fake = withDevices("phone", "tablet");
    const hook = await sessionsOf(fake);
    const asked = fake.client.sessions.list.mock.calls.length;
    const answer = later<Result<Receipt>>();
    fake.client.sessions.end.mockReturnValueOnce(answer.promise);

    act(() => void hook.current.end("phone"));
    expect(hook.current.ending).toEqual(["phone"]);
    fake.client.sessions.list.mockReturnValue(new Promise(() => {}));
    await act(async () => answer.answer(good(receipt({ tookMs: 6 }))));
    expect(ids(hook.current.sessions)).toEqual(["session-alice", "tablet"]);
    expect(hook.current).toMatchObject({ ending: [], receipt: { tookMs: 6 }, error: null });
    expect(fake.client.sessions.list.mock.calls.length).toBe(asked + 1);
  });

  test("ends all others", async () => {
    const fake = withDevices("phone", "tablet");
    const hook = await sessionsOf(fake);
    await act(() => hook.current.endOthers());
    expect(ids(hook.current.sessions)).toEqual(["session-alice"]);
    expect(hook.current.receipt?.sessionsEnded).toBe(2);
  });

  test("two clicks are one call; two devices are two", async () => {
    const fake = withDevices("phone", "tablet");
    const hook = await sessionsOf(fake);
    await act(() => Promise.all([hook.current.end("phone"), hook.current.end("phone"), hook.current.end("tablet")]));
    expect(fake.client.sessions.end.mock.calls).toEqual([["phone"], ["tablet"]]);
    expect(hook.current.ending).toEqual([]);
  });

  test("ending the current one is a logout", async () => {
    const fake = withDevices("phone");
    const hook = await sessionsOf(fake);
    await act(() => hook.current.end("session-alice"));
    expect(fake.client.signOut).toHaveBeenCalledExactlyOnceWith({ scope: "local" });
    expect(fake.client.sessions.end).not.toHaveBeenCalled();
    expect(hook.current).toMatchObject({ sessions: null, loading: false, receipt: null });
  });

  test("a failed ending leaves the device in the list and the error to be seen", async () => {
    const fake = withDevices("phone");
    fake.client.sessions.end.mockResolvedValue(bad());
    const hook = await sessionsOf(fake);
    await act(() => hook.current.end("phone"));
    expect(ids(hook.current.sessions)).toEqual(["session-alice", "phone"]);
    expect(hook.current).toMatchObject({ ending: [], error: { code: "network" }, receipt: null });
    await act(() => hook.current.refresh());
    expect(hook.current.error).toBeNull();
  });

  test("an error of the list is a value, also one that is thrown", async () => {
    const fake = fakeClient();
    fake.client.sessions.list.mockRejectedValue(new Error("wrapped"));
    const hook = await sessionsOf(fake);
    expect(hook.current).toMatchObject({ sessions: null, loading: false, error: { code: "unexpected" } });
  });

  test("shows the last answer only, however late another one comes", async () => {
    const fake = withDevices();
    const hook = await sessionsOf(fake);
    const [first, second] = [later<Result<Device[]>>(), later<Result<Device[]>>()];
    fake.client.sessions.list.mockReturnValueOnce(first.promise).mockReturnValueOnce(second.promise);
    act(() => void (hook.current.refresh(), hook.current.refresh()));
    await act(async () => second.answer(good([mine])));
    await act(async () => first.answer(good([mine, device("phone")])));
    expect(ids(hook.current.sessions)).toEqual(["session-alice"]);
  });

  test("shows the next person nothing of the last one", async () => {
    const fake = withDevices("phone");
    const hook = await sessionsOf(fake);
    const [late, ended] = [later<Result<Device[]>>(), later<Result<Receipt>>()];
    fake.client.sessions.list.mockReturnValueOnce(late.promise);
    fake.client.sessions.end.mockReturnValueOnce(ended.promise);
    act(() => void (hook.current.refresh(), hook.current.end("phone")));

    act(() => fake.become(signedOut("user")));
    expect(hook.current).toMatchObject({ sessions: null, loading: false, ending: [] });
    fake.client.sessions.list.mockResolvedValue(good([device("session-bob", { current: true })]));
    await act(async () => fake.become(signedIn("bob")));
    await act(async () => {
      late.answer(good([mine]));
      ended.answer(good(receipt()));
    });
    expect(ids(hook.current.sessions)).toEqual(["session-bob"]);
    expect(hook.current).toMatchObject({ loading: false, receipt: null, ending: [] });
  });

  test("is up to date when another component has ended the others", async () => {
    const fake = withDevices("phone");
    const wrapper = ({ children }: { children: ReactNode }) => <AuthProvider client={fake.client}>{children}</AuthProvider>;
    const hook = renderHook(() => ({ ...useSessions(), ...useLogout() }), { wrapper });
    await act(async () => {});
    expect(ids(hook.result.current.sessions)).toEqual(["session-alice", "phone"]);
    await act(() => hook.result.current.logout({ scope: "others" }));
    expect(ids(hook.result.current.sessions)).toEqual(["session-alice"]);
  });

  test("asks nothing for nobody", async () => {
    const fake = fakeClient(signedOut());
    const hook = await sessionsOf(fake);
    await act(() => hook.current.refresh());
    expect(fake.client.sessions.list).not.toHaveBeenCalled();
    expect(hook.current).toMatchObject({ sessions: null, loading: false });
  });
});
