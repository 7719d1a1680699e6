package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// doctored runs doctor against an authority that says what is given, in place of
// what a healthy one says.
func doctored(t *testing.T, status, keys, end string, args ...string) (code int, out, errOut string) {
	t.Helper()
	answers := map[string]string{
		"GET /admin/status":    status,
		"GET /admin/keys":      keys,
		"GET /admin/verifiers": `{"verifiers":[],"instances":[]}`,
		"POST /admin/canary":   `{"access_token":"t","session_id":"00000000000000000000000000000001","expires_at":"2026-11-20T10:30:00Z"}`,
		"DELETE /admin/canary/00000000000000000000000000000001": end,
	}
	return against(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, answers[r.Method+" "+r.URL.Path])
	}, append([]string{"doctor"}, args...)...)
}

func goodStatus(at time.Time) string {
	return fmt.Sprintf(`{"time":%q,"store":{"engine":"sqlite","settings":{"synchronous":"full"}},
		"policy":{"access_life_s":600,"lifetime_s":36000,"idle_timeout_s":600,"rotate_every_s":7776000,"lease_s":3}}`, at.UTC().Format(time.RFC3339Nano))
}

func goodKeys(since time.Time) string {
	return fmt.Sprintf(`{"keys":[{"kid":"old","status":"retained","changed_at":"2020-01-01T00:00:00Z"},{"kid":"k1","status":"active","changed_at":%q}]}`, since.UTC().Format(time.RFC3339Nano))
}

const goodEnd = `{"revocation":{"seq":7},"state":"enforced","verifiers":0,"took_ms":1.5}`

func TestDoctorsChecks(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name, status, keys, end string
		code                    int
		line                    string
	}{
		{"healthy", goodStatus(now), goodKeys(now.Add(-48 * time.Hour)), goodEnd, exitOK, "signing key            ok     k1 has been signing for 2"},
		{"assurance level", goodStatus(now), goodKeys(now), goodEnd, exitOK, "sessions.lifetime      ok     10 hours, within NIST SP 800-63B-4 AAL3"},
		{"idle within", goodStatus(now), goodKeys(now), goodEnd, exitOK, "sessions.idle_timeout  ok     10 minutes, within NIST SP 800-63B-4 AAL3"},
		{"a clock that is ahead", goodStatus(now.Add(time.Hour)), goodKeys(now), goodEnd, exitOK, "clock                  warn   authority time and the clock of this machine are 1h0m0s apart"},
		{"a clock that is behind", goodStatus(now.Add(-5 * time.Second)), goodKeys(now.Add(-time.Hour)), goodEnd, exitOK, "clock                  warn"},
		{"an old key", goodStatus(now), goodKeys(now.Add(-100 * 24 * time.Hour)), goodEnd, exitOK, "signing key            warn   k1 has been signing for 100 days, longer than keys.rotate_every (90 days)"},
		{"no key", goodStatus(now), `{"keys":[]}`, goodEnd, exitOK, "signing key            warn   the authority names no active key"},
		{"a store that syncs nothing", strings.Replace(goodStatus(now), `"settings":`, `"problem":"synchronous is off","settings":`, 1), goodKeys(now), goodEnd, exitFailure, "store                  FAIL   sqlite: synchronous is off"},
		{"a store that does not say", strings.Replace(goodStatus(now), `"store":`, `"other":`, 1), goodKeys(now), goodEnd, exitOK, "store                  note"},
		{"nothing enforced", goodStatus(now), goodKeys(now), strings.Replace(goodEnd, "enforced", "recorded", 1), exitFailure, "logout                 FAIL   recorded after 1.5 ms"},
		{"more verifiers than it lists", goodStatus(now), goodKeys(now), strings.Replace(goodEnd, `"verifiers":0`, `"verifiers":300`, 1), exitOK, "at seq 7, with 300 verifiers (of 300 the authority keeps no times)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errOut := doctored(t, c.status, c.keys, c.end)
			// Columns are as wide as what is in them.
			if got := strings.Join(strings.Fields(out), " "); code != c.code || !strings.Contains(got, strings.Join(strings.Fields(c.line), " ")) {
				t.Errorf("exit code %d, want %d, and %q in\n%s%s", code, c.code, c.line, out, errOut)
			}
		})
	}
}

func TestDurationsAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Millisecond: "2s", time.Minute: "1 minute", 90 * time.Second: "1m30s", 10 * time.Minute: "10 minutes", time.Hour: "1 hour",
		150 * time.Minute: "2.5 hours", 24 * time.Hour: "1 day", 36 * time.Hour: "36 hours", 90 * 24 * time.Hour: "90 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
