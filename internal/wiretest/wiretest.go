package wiretest

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:generate go run ./gen

//go:embed keys.json tokens.json vectors/*.json
var files embed.FS

// Vector is one dialogue. README.md says how it is played.
type Vector struct {
	Name string `json:"name"`
	// Why names the rule that the dialogue holds a verifier to, or the attack.
	Why string `json:"why"`
	// Needs lists the optional parts of the protocol without which the
	// dialogue means nothing.
	Needs    []Feature `json:"needs"`
	Audience string    `json:"audience"`
	// WallUS is what the verifier's wall clock says at the start, in
	// microseconds since 1970.
	WallUS int64  `json:"wall_us"`
	Steps  []Step `json:"steps"`
}

// StartUS is authority time at the start of every dialogue, and what the wall
// clock says where the vector does not say otherwise.
const StartUS = 1_800_000_000_000_000

// Feature is a part of the protocol that a verifier may do without.
type Feature string

// The features.
const (
	Confirm Feature = "confirm"
	Seen    Feature = "seen"
)

// Token is a token. Note is for people.
type Token struct {
	Note string `json:"note"`
	Text string `json:"text"`
}

// Verdict is what a verifier says of a token.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Stale   Verdict = "stale"
	Invalid Verdict = "invalid"
	Expired Verdict = "expired"
	Revoked Verdict = "revoked"
)

// Expected is the members that a request must have. A null stands for a member
// that is absent; members that are not named are not compared.
type Expected map[string]json.RawMessage

// Step is one thing that happens. Exactly one of the fields after AtUS is set.
type Step struct {
	// AtUS is the reading of the monotonic clock, in microseconds since the
	// start.
	AtUS int64 `json:"at_us"`

	Poll     Expected `json:"poll"`     // the verifier composes its next poll
	Confirm  Expected `json:"confirm"`  // the same with a fresh confirm
	Close    Expected `json:"close"`    // the verifier shuts down: its last poll
	Snapshot bool     `json:"snapshot"` // the verifier asks for a snapshot
	Reply    *Reply   `json:"reply"`    // the answer to the latest of those
	Lost     bool     `json:"lost"`     // or there is none

	Check       map[string]Verdict `json:"check"`        // verdicts under the lease
	StrictCheck map[string]Verdict `json:"strict_check"` // verdicts under the latest confirm
	Active      []string           `json:"active"`       // persons use these tokens, with success
	WallJumpUS  int64              `json:"wall_jump_us"` // the wall clock alone moves
}

// Reply is an answer of the authority.
type Reply struct {
	Status int `json:"status"`
	// Body is the whole body, where it is not spelled as Head and Lines.
	Body  *string         `json:"body"`
	Head  json.RawMessage `json:"head"`
	Lines []string        `json:"lines"`
}

// Bytes returns the body as it is sent in answer to a request with the given
// poll and confirm, which a head repeats with "$poll" and "$confirm".
func (r Reply) Bytes(poll int64, confirm string) []byte {
	if r.Body != nil {
		return []byte(*r.Body)
	}
	if r.Head == nil {
		return nil
	}
	echo, err := json.Marshal(confirm)
	if err != nil {
		panic(err) // a string always marshals
	}
	var out bytes.Buffer
	head := bytes.ReplaceAll(r.Head, []byte(`"$poll"`), strconv.AppendInt(nil, poll, 10))
	out.Write(bytes.ReplaceAll(head, []byte(`"$confirm"`), echo))
	out.WriteByte('\n')
	for _, line := range r.Lines {
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// All returns the vectors in the order of their names. It panics if a file
// cannot be read, or is called otherwise: they are part of the binary.
func All() []Vector {
	var sets map[string]json.RawMessage
	read("keys.json", nil, &sets)
	names, err := fs.Glob(files, "vectors/*.json")
	if err != nil {
		panic(err)
	}
	all := make([]Vector, len(names))
	for i, name := range names {
		all[i].WallUS = StartUS
		read(name, sets, &all[i])
		if name != "vectors/"+all[i].Name+".json" {
			panic(fmt.Sprintf("wiretest: %s has the vector %s", name, all[i].Name))
		}
	}
	slices.SortFunc(all, func(a, b Vector) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Tokens returns the tokens by the names that the steps use.
func Tokens() map[string]Token {
	var all map[string]Token
	read("tokens.json", nil, &all)
	return all
}

// read parses a file. "$NAME" in it stands for the key set of that name.
func read(name string, sets map[string]json.RawMessage, into any) {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	for set, keys := range sets {
		text = bytes.ReplaceAll(text, []byte(`"$`+set+`"`), keys)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	// A member that is misspelled would be a check that is never made.
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		panic(fmt.Sprintf("wiretest: %s: %v", name, err))
	}
}
