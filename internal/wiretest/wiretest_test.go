package wiretest_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/token"
	"github.com/curfewhq/curfew/internal/wiretest"
)

func TestNames(t *testing.T) {
	all := wiretest.All()
	if len(all) < 70 {
		t.Fatalf("%d vectors", len(all))
	}
	spelling := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for i, v := range all {
		if !spelling.MatchString(v.Name) || i > 0 && v.Name <= all[i-1].Name {
			t.Errorf("name %q: not a name, not in order, or not that of its file", v.Name)
		}
		if !strings.HasSuffix(v.Why, ".") || v.Audience == "" || v.WallUS <= 0 || len(v.Steps) == 0 {
			t.Errorf("%s: something is missing", v.Name)
		}
	}
}

// A step that means nothing, or two things at once, would be skipped by one
// runner and played by another.
func TestStepsAreWellFormed(t *testing.T) {
	tokens := wiretest.Tokens()
	used := make(map[string]bool)
	for _, v := range wiretest.All() {
		t.Run(v.Name, func(t *testing.T) {
			var (
				now     int64
				calling string // what waits for a reply
				polls   int
				diverts bool // the latest poll was answered with 409
				needs   = make(map[wiretest.Feature]bool)
			)
			for i, s := range v.Steps {
				if s.AtUS < now {
					t.Errorf("step %d goes back in time", i)
				}
				now = s.AtUS
				if n := actions(s); n != 1 {
					t.Errorf("step %d has %d actions", i, n)
				}
				switch {
				case s.Poll != nil, s.Confirm != nil, s.Close != nil:
					calling, diverts = "poll", false
					polls++
					expected := s.Poll
					if s.Confirm != nil {
						expected, needs[wiretest.Confirm] = s.Confirm, true
					} else if s.Close != nil {
						expected = s.Close
					}
					// Whether a confirm has a number of its own is not said.
					if got := string(expected["poll"]); got != strconv.Itoa(polls) && !(got == "" && slices.Contains(v.Needs, wiretest.Confirm)) {
						t.Errorf("step %d: poll %q, want %d", i, got, polls)
					}
					for name, value := range expected {
						if name == "seen" {
							needs[wiretest.Seen] = true
						}
						if !json.Valid(value) {
							t.Errorf("step %d: %s is not JSON", i, name)
						}
					}
				case s.Snapshot:
					if !diverts {
						t.Errorf("step %d: nobody asked for a snapshot", i)
					}
					calling = "snapshot"
				case s.Reply != nil, s.Lost:
					if calling == "" {
						t.Errorf("step %d answers nothing", i)
					}
					diverts = calling == "poll" && s.Reply != nil && s.Reply.Status == 409
					calling = ""
					if r := s.Reply; r != nil && (r.Status < 200 || r.Status > 599 || (r.Head == nil) == (r.Body == nil)) {
						t.Errorf("step %d: reply needs a status, and a head or a body", i)
					}
				case s.Active != nil:
					needs[wiretest.Seen] = true
					for _, name := range s.Active {
						used[name] = true
					}
				default:
					if s.StrictCheck != nil {
						needs[wiretest.Confirm] = true
					}
					for _, checks := range []map[string]wiretest.Verdict{s.Check, s.StrictCheck} {
						for name, verdict := range checks {
							used[name] = true
							switch verdict {
							case wiretest.OK, wiretest.Stale, wiretest.Invalid, wiretest.Expired, wiretest.Revoked:
							default:
								t.Errorf("step %d: verdict %q", i, verdict)
							}
						}
					}
				}
			}
			if want := slices.Sorted(maps.Keys(needs)); !slices.Equal(want, v.Needs) {
				t.Errorf("needs %v, want %v", v.Needs, want)
			}
		})
	}
	for name := range used {
		if _, ok := tokens[name]; !ok {
			t.Errorf("no token is called %s", name)
		}
	}
	for name := range tokens {
		if !used[name] {
			t.Errorf("nobody uses the token %s", name)
		}
	}
}

func actions(s wiretest.Step) int {
	n := 0
	for _, set := range []bool{
		s.Poll != nil, s.Confirm != nil, s.Close != nil, s.Snapshot, s.Reply != nil, s.Lost,
		s.Check != nil, s.StrictCheck != nil, s.Active != nil, s.WallJumpUS != 0,
	} {
		if set {
			n++
		}
	}
	return n
}

// Whether a token is genuine does not depend on the feed but on the keys that
// came with it, so package token must agree with each verdict.
func TestTokenPackageAgrees(t *testing.T) {
	tokens := wiretest.Tokens()
	for _, v := range wiretest.All() {
		var (
			keys *token.KeySet
			want = token.Expect{Audience: v.Audience}
		)
		for i, s := range v.Steps {
			if s.Reply != nil && s.Reply.Head != nil {
				if k, issuer := keySet(t, s.Reply.Head); k != nil {
					keys, want.Issuer = k, issuer
				}
			}
			for name, verdict := range s.Check {
				if verdict == wiretest.Stale {
					continue
				}
				if _, err := token.Parse(tokens[name].Text, keys, want); (err != nil) != (verdict == wiretest.Invalid) {
					t.Errorf("%s, step %d: %s is %s, and token.Parse says %v", v.Name, i, name, verdict, err)
				}
			}
		}
	}
}

// keySet returns the keys of a head, as far as they are of use.
func keySet(t *testing.T, head json.RawMessage) (*token.KeySet, string) {
	t.Helper()
	var h struct {
		Keys *struct {
			Issuer string
			Set    struct{ Keys []json.RawMessage }
		}
	}
	if json.Unmarshal(head, &h) != nil || h.Keys == nil {
		return nil, ""
	}
	var keys []token.PublicKey
	for _, jwk := range h.Keys.Set.Keys {
		if k, err := token.ParseJWK(jwk); err == nil {
			keys = append(keys, k)
		}
	}
	return token.NewKeySet(keys...), h.Keys.Issuer
}

func TestReplyBytes(t *testing.T) {
	raw := "as it is"
	for want, r := range map[string]wiretest.Reply{
		raw: {Body: &raw},
		"{\"poll\":7,\"confirm\":\"a\\\"b\"}\n1\n2\n": {Head: json.RawMessage(`{"poll":"$poll","confirm":"$confirm"}`), Lines: []string{"1", "2"}},
	} {
		if got := r.Bytes(7, `a"b`); !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
