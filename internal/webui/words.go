package webui

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
)

// endedTexts say to the person in front of the screen why the session is over.
var endedTexts = map[curfew.Reason]string{
	curfew.ReasonUser:            "You are signed out.",
	curfew.ReasonUserOthers:      "You were signed out here from another device.",
	curfew.ReasonUserAll:         "You were signed out everywhere.",
	curfew.ReasonAdmin:           "An administrator signed you out.",
	curfew.ReasonPasswordChanged: "You were signed out because your password was changed.",
	curfew.ReasonDisabled:        "You were signed out because this account has been disabled. Please ask an administrator.",
	curfew.ReasonDeleted:         "You were signed out because this account was deleted.",
	curfew.ReasonIdle:            "You were signed out because nothing happened here for a while.",
	curfew.ReasonExpired:         "Your time here was up. Please sign in again.",
	curfew.ReasonTokenReuse:      "You were signed out because a sign-in that was already used up was used again, perhaps by somebody else. If that was not you, change your password.",
	curfew.ReasonReplaced:        "You were signed out here because you signed in on another device.",
	curfew.ReasonSuspicious:      "You were signed out because of unusual activity. If that was not you, change your password.",
	curfew.ReasonCompromised:     "You were signed out to protect your account, because its password may be known to somebody else.",
	curfew.ReasonTokenRevoked:    "An application signed you out.",
	curfew.ReasonKeyRevoked:      "You were signed out because a key of this service was withdrawn. Please sign in again.",
	curfew.ReasonRestored:        "You were signed out because this service was restored from a backup. Please sign in again.",
}

// endedText never shows a reason as it came: it is a parameter of the address,
// and whoever made the link could write anything into the page.
func endedText(reason string) string {
	if text, ok := endedTexts[curfew.Reason(reason)]; ok {
		return text
	}
	return "You have been signed out. Please sign in again."
}

// serious reports whether a reason is worth more than a quiet remark.
func serious(reason string) bool {
	switch curfew.Reason(reason) {
	case curfew.ReasonTokenReuse, curfew.ReasonSuspicious, curfew.ReasonCompromised, curfew.ReasonDisabled, curfew.ReasonDeleted:
		return true
	}
	return false
}

// noticeText says what an ending did.
func noticeText(n Notice) string {
	var text string
	switch {
	case n.Kind == "password" && n.Ended <= 0:
		text = "Your password was changed."
	case n.Kind == "password":
		text = "Your password was changed. Signed out on " + count(n.Ended, "device") + "."
	case n.Ended <= 0 && n.Kind == "session":
		return "That device was signed out already."
	case n.Ended <= 0 && n.Kind == "others":
		return "No other device was signed in."
	case n.Ended <= 0:
		return "You are signed out."
	case n.Kind == "signout" && n.Ended == 1:
		text = "You are signed out."
	default:
		text = "Signed out on " + count(n.Ended, "device") + "."
	}
	switch n.State {
	case "enforced":
		text += " Refused everywhere after " + took(n.Took)
		if n.Verifiers > 0 {
			text += ", by " + count(int64(n.Verifiers), "service")
		}
		text += "."
	case "recorded":
		text += " Services are being told now."
	}
	return text
}

// took is how long an ending was on its way, as exact as it matters.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than 1 ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
}

func count[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago is the age of t. A time that lies ahead, because two clocks differ, is
// now.
func ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return count(int64(d/time.Minute), "minute") + " ago"
	case d < 24*time.Hour:
		return count(int64(d/time.Hour), "hour") + " ago"
	case d < 30*24*time.Hour:
		return count(int64(d/(24*time.Hour)), "day") + " ago"
	}
	return day(t)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
func day(t time.Time) string   { return t.UTC().Format("2 January 2006") }
func full(t time.Time) string  { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// icon is the picture beside a device. The name is a guess from the user agent,
// so the picture is one too, and only that.
func icon(name string) string {
	for _, phone := range []string{"iPhone", "Android", "iPad", "iOS", "Mobile"} {
		if strings.Contains(name, phone) {
			return "phone"
		}
	}
	return "desktop"
}

// number groups digits in threes.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
