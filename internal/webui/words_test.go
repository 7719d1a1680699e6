package webui

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/curfewhq/curfew"
)

// A reason that is added must be said in words as well.
func TestEveryReasonHasWords(t *testing.T) {
	src, err := os.ReadFile("../../reason.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Reason\w+\s+Reason = "(\w+)"`).FindAllSubmatch(src, -1)
	if len(found) != len(endedTexts) {
		t.Errorf("%d reasons, %d texts", len(found), len(endedTexts))
	}
	seen := map[string]bool{}
	for _, m := range found {
		text := endedTexts[curfew.Reason(m[1])]
		if text == "" || seen[text] {
			t.Errorf("%s has no text of its own", m[1])
		}
		seen[text] = true
	}
}

func TestNotice(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct {
		n    Notice
		want string
	}{
		{Notice{Kind: "others", Ended: 2, State: "enforced", Took: 6 * ms}, "Signed out on 2 devices. Refused everywhere after 6 ms."},
		{Notice{Kind: "others", Ended: 2, State: "enforced", Took: 6 * ms, Verifiers: 3}, "Signed out on 2 devices. Refused everywhere after 6 ms, by 3 services."},
		{Notice{Kind: "session", Ended: 1, State: "enforced", Took: 6 * ms, Verifiers: 1}, "Signed out on 1 device. Refused everywhere after 6 ms, by 1 service."},
		{Notice{Kind: "global", Ended: 3, State: "recorded", Took: 6 * ms, Verifiers: 2}, "Signed out on 3 devices. Services are being told now."},
		{Notice{Kind: "signout", Ended: 1, State: "enforced", Took: 100 * time.Microsecond}, "You are signed out. Refused everywhere after less than 1 ms."},
		{Notice{Kind: "signout", Ended: 2, State: "enforced", Took: 1250 * ms}, "Signed out on 2 devices. Refused everywhere after 1.3 s."},
		{Notice{Kind: "signout", State: "enforced"}, "You are signed out."},
		{Notice{Kind: "global", State: "enforced"}, "You are signed out."},
		{Notice{Kind: "session", State: "enforced", Took: 6 * ms}, "That device was signed out already."},
		{Notice{Kind: "others", State: "enforced"}, "No other device was signed in."},
		{Notice{Kind: "password", Ended: 1, State: "enforced", Took: 6 * ms}, "Your password was changed. Signed out on 1 device. Refused everywhere after 6 ms."},
		{Notice{Kind: "password", State: "recorded"}, "Your password was changed. Services are being told now."},
		{Notice{Kind: "others", Ended: 2}, "Signed out on 2 devices."},
		{Notice{}, "You are signed out."},
		{Notice{Kind: "?", Ended: -1, State: "?", Took: -ms}, "You are signed out."},
	} {
		if got := noticeText(test.n); got != test.want {
			t.Errorf("%+v:\n%q, want\n%q", test.n, got, test.want)
		}
	}
}

func TestAgo(t *testing.T) {
	for _, test := range []struct {
		age  time.Duration
		want string
	}{
		{-time.Hour, "just now"}, // clocks differ
		{0, "just now"},
		{59 * time.Second, "just now"},
		{time.Minute, "1 minute ago"},
		{5*time.Minute + 59*time.Second, "5 minutes ago"},
		{time.Hour, "1 hour ago"},
		{23*time.Hour + 59*time.Minute, "23 hours ago"},
		{24 * time.Hour, "1 day ago"},
		{29 * 24 * time.Hour, "29 days ago"},
		{30 * 24 * time.Hour, "22 October 2026"},
	} {
		if got := ago(now, now.Add(-test.age)); got != test.want {
			t.Errorf("%v: %q, want %q", test.age, got, test.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 60000: "60,000", 1234567: "1,234,567", -999: "-999", -1000: "-1,000"} {
		if got := number(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestIcon(t *testing.T) {
	for name, want := range map[string]string{"Safari on iPhone": "phone", "Chrome on Android": "phone", "Firefox on Linux": "desktop", "": "desktop", `x" onload="`: "desktop"} {
		if got := icon(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
