package token

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxDepth bounds nested objects and arrays, the outermost included.
	maxDepth = 8
	// maxMembers bounds the members of one object. Names are compared pair by
	// pair, and the header is read before the signature: without a bound, 4 KiB
	// of distinct names would cost more than the signature check they precede.
	maxMembers = 64
)

// scanner reads one JSON text (RFC 8259) and is strict where encoding/json is
// not: a name that occurs twice in an object, at any depth, is an error, and so
// are invalid UTF-8 and unpaired surrogates; names match exactly, never by
// case. Two readers of one token must not see different sessions.
//
// The text is valid UTF-8 as a whole before any method is called. Strings are
// slices of the text wherever nothing in them is escaped.
type scanner struct {
	src   string
	pos   int
	depth int
	names []string // of all open objects, the innermost last
}

// document reads one object that is the whole text. The function member is
// called after each name and must consume the value.
func (s *scanner) document(member func(name string) error) error {
	if !utf8.ValidString(s.src) {
		return malformed("JSON is not UTF-8")
	}
	s.space()
	// An array or a string in place of the object made other verifiers skip
	// every check of a claim, revocation included (CVE-2026-107723).
	if s.peek() != '{' {
		return malformed("JSON is not an object")
	}
	if err := s.object(member); err != nil {
		return err
	}
	s.space()
	if s.pos != len(s.src) {
		return malformed("data after the JSON object")
	}
	return nil
}

// peek returns the next byte, or 0 at the end; no JSON value begins with 0.
func (s *scanner) peek() byte {
	if s.pos < len(s.src) {
		return s.src[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// object reads an object. A nil member skips the values.
func (s *scanner) object(member func(name string) error) error {
	if err := s.enter('{'); err != nil {
		return err
	}
	base := len(s.names)
	s.space()
	if s.peek() == '}' {
		s.leave()
		return nil
	}
	for {
		s.space()
		name, err := s.str()
		if err != nil {
			return err
		}
		for _, seen := range s.names[base:] {
			if seen == name {
				return malformed("duplicate member name")
			}
		}
		if len(s.names)-base == maxMembers {
			return malformed("too many members")
		}
		s.names = append(s.names, name)
		s.space()
		if s.peek() != ':' {
			return malformed("JSON syntax")
		}
		s.pos++
		s.space()
		if member != nil {
			err = member(name)
		} else {
			err = s.skip()
		}
		if err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.names = s.names[:base]
			s.leave()
			return nil
		default:
			return malformed("JSON syntax")
		}
	}
}

// array reads an array. A nil element skips the values.
func (s *scanner) array(element func() error) error {
	if err := s.enter('['); err != nil {
		return err
	}
	s.space()
	if s.peek() == ']' {
		s.leave()
		return nil
	}
	for {
		s.space()
		var err error
		if element != nil {
			err = element()
		} else {
			err = s.skip()
		}
		if err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case ',':
			s.pos++
		case ']':
			s.leave()
			return nil
		default:
			return malformed("JSON syntax")
		}
	}
}

func (s *scanner) enter(open byte) error {
	if s.peek() != open {
		return malformed("claim has the wrong type")
	}
	if s.depth == maxDepth {
		return malformed("JSON is nested too deeply")
	}
	s.pos++
	s.depth++
	return nil
}

func (s *scanner) leave() {
	s.pos++
	s.depth--
}

// skip reads a value of any type.
func (s *scanner) skip() error {
	switch c := s.peek(); {
	case c == '{':
		return s.object(nil)
	case c == '[':
		return s.array(nil)
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || isDigit(c):
		return s.number()
	}
	for _, lit := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.src[s.pos:], lit) {
			s.pos += len(lit)
			return nil
		}
	}
	return malformed("JSON syntax")
}

// number reads a number and does not interpret it.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return malformed("JSON syntax")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return malformed("JSON syntax")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return malformed("JSON syntax")
		}
	}
	return nil
}

// digits reads one digit or more.
func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// integer reads an integer from 0 to 2^53-1 that is spelled with digits only.
// Strings, fractions and exponents have been read as other dates, or as no
// date at all, by others (CVE-2026-54238, HSEC-2026-0010); what Go makes of
// int64(1e308) even depends on the processor.
func (s *scanner) integer() (int64, error) {
	start := s.pos
	var n int64
	for isDigit(s.peek()) {
		if n = n*10 + int64(s.src[s.pos]-'0'); n >= maxInteger {
			return 0, malformed("number out of range")
		}
		s.pos++
	}
	if s.pos == start {
		return 0, malformed("claim is not an integer")
	}
	if s.src[start] == '0' && s.pos > start+1 {
		return 0, malformed("JSON syntax")
	}
	switch s.peek() {
	case '.', 'e', 'E':
		return 0, malformed("claim is not an integer")
	}
	return n, nil
}

// str reads a string.
func (s *scanner) str() (string, error) {
	if s.peek() != '"' {
		return "", malformed("claim is not a string")
	}
	start := s.pos + 1
	for i := start; i < len(s.src); i++ {
		switch c := s.src[i]; {
		case c == '"':
			s.pos = i + 1
			return s.src[start:i], nil
		case c == '\\':
			s.pos = i
			return s.escaped(s.src[start:i])
		case c < ' ':
			return "", malformed("control character in a JSON string")
		}
	}
	return "", malformed("JSON syntax")
}

// escaped reads the rest of a string from its first backslash on.
func (s *scanner) escaped(prefix string) (string, error) {
	out := make([]byte, 0, len(prefix)+32)
	out = append(out, prefix...)
	for s.pos < len(s.src) {
		c := s.src[s.pos]
		s.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", malformed("control character in a JSON string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		c = s.peek()
		s.pos++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := s.hex4()
			if !ok {
				return "", malformed("JSON syntax")
			}
			if utf16.IsSurrogate(r) {
				// Readers replace an unpaired surrogate, so that different
				// names become one.
				if !strings.HasPrefix(s.src[s.pos:], `\u`) {
					return "", malformed("unpaired surrogate")
				}
				s.pos += 2
				low, ok := s.hex4()
				if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
					return "", malformed("unpaired surrogate")
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", malformed("JSON syntax")
		}
	}
	return "", malformed("JSON syntax")
}

// hex4 reads four hexadecimal digits.
func (s *scanner) hex4() (rune, bool) {
	if len(s.src)-s.pos < 4 {
		return 0, false
	}
	var r rune
	for range 4 {
		c := s.src[s.pos]
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
		s.pos++
	}
	return r, true
}
