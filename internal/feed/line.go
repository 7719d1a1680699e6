package feed

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
)

// minLine is the length of the shortest line: "1 x - 0 - -" and its end.
const minLine = 12

// appendLine appends the wire form of r: "seq kind target expires issuer reason".
func appendLine(dst []byte, r *curfew.Revocation) []byte {
	dst = strconv.AppendInt(dst, int64(r.Seq), 10)
	dst = append(dst, ' ')
	dst = appendField(dst, string(r.Kind))
	dst = append(dst, ' ')
	dst = appendField(dst, r.Target)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, expirySeconds(r.ExpiresAt), 10)
	dst = append(dst, ' ')
	dst = appendField(dst, r.Issuer)
	dst = append(dst, ' ')
	dst = appendField(dst, string(r.Reason))
	return append(dst, '\n')
}

// expirySeconds rounds up: an entry may stay too long but must not go too early.
func expirySeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	sec := t.Unix()
	if t.Nanosecond() > 0 {
		sec++
	}
	return sec
}

func appendField(dst []byte, s string) []byte {
	switch s {
	case "":
		return append(dst, '-')
	case "-":
		return append(dst, "%2D"...)
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '%' {
			const hex = "0123456789ABCDEF"
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// parseLine reads one line off text and returns what follows it. The fields of
// the revocation are parts of text.
func parseLine(text string) (r curfew.Revocation, rest string, err error) {
	end := strings.IndexByte(text, '\n')
	if end < 0 {
		return r, "", fmt.Errorf("%w: an entry is missing or cut off", ErrBadAnswer)
	}
	line, rest := text[:end], text[end+1:]
	var fields [6]string
	for i := range fields {
		sep := strings.IndexByte(line, ' ')
		if last := i == len(fields)-1; last != (sep < 0) {
			return r, "", fmt.Errorf("%w: an entry does not have six fields", ErrBadAnswer)
		} else if last {
			sep = len(line)
		}
		fields[i] = line[:sep]
		line = line[min(sep+1, len(line)):]
	}
	seq, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil || seq < 1 {
		return r, "", fmt.Errorf("%w: an entry without a position", ErrBadAnswer)
	}
	expires, err := strconv.ParseInt(fields[3], 10, 64)
	if err != nil || expires < 0 {
		return r, "", fmt.Errorf("%w: entry %d without an expiry", ErrBadAnswer, seq)
	}
	r.Seq = curfew.Seq(seq)
	if expires > 0 {
		r.ExpiresAt = time.Unix(expires, 0)
	}
	var kind, reason string
	for _, f := range []struct {
		to   *string
		text string
	}{{&kind, fields[1]}, {&r.Target, fields[2]}, {&r.Issuer, fields[4]}, {&reason, fields[5]}} {
		if *f.to, err = parseField(f.text); err != nil {
			return r, "", fmt.Errorf("%w: entry %d: %w", ErrBadAnswer, seq, err)
		}
	}
	r.Kind, r.Reason = curfew.Kind(kind), curfew.Reason(reason)
	// What is not known here must be at least as wide as everything, which a
	// denylist sees to; but a kind that needs a target and has none is damage.
	if r.Kind.Valid() && r.Kind != curfew.KindEverything && r.Target == "" {
		return r, "", fmt.Errorf("%w: entry %d has no target", ErrBadAnswer, seq)
	}
	return r, rest, nil
}

func parseField(s string) (string, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("an empty field")
	case s == "-":
		return "", nil
	case strings.IndexByte(s, '%') < 0:
		return s, nil
	}
	return url.PathUnescape(s)
}
