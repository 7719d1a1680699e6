package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const (
	// start is when every dialogue begins, in authority time: 2027-01-15 08:00.
	start = 1_800_000_000

	ms     = 1000
	second = 1000 * ms

	issuer = "https://id.example.com"
	lease  = 3 * second
)

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(compact(m.name) + ":" + compact(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// set replaces the member of that name, or appends it.
func (o *object) set(name string, value any) {
	i := slices.IndexFunc(*o, func(m member) bool { return m.name == name })
	if i < 0 {
		*o = append(*o, member{name, value})
		return
	}
	(*o)[i].value = value
}

// compact returns v as JSON without white space.
func compact(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// dialogue is a vector that is being written. It plays the authority: it knows
// what the verifier has been told, so that a vector says only what is special
// about it.
type dialogue struct {
	name, why string
	needs     []string
	audience  string
	wall      int64
	steps     []string

	now int64 // the time of the latest step
	// What a right verifier has.
	polls   int
	pos     position
	version string
	told    object // what was expected of the last poll
	hashes  bool   // whether every poll is held to its hash
	// Whether a confirm counts among the polls is not said, so none is held to
	// its number from then on.
	unnumbered bool
	// What the authority has.
	log     string
	keys    string
	sent    int64 // when the poll that is under way was sent
	horizon int64
	seen    bool
}

// position is what log, seq and hash say.
type position struct {
	log  string
	seq  int
	hash string
}

// at returns the position of seq in a log.
func at(log string, seq int) position {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", log, seq))
	return position{log, seq, hex.EncodeToString(sum[:])}
}

func newDialogue(name, why string) *dialogue {
	return &dialogue{
		name: name, why: why, audience: "curfew", wall: start * second,
		log: "first", keys: "es1",
	}
}

// issue and forge make the tokens that the dialogue speaks of.
func (d *dialogue) issue(name string, c claims) *dialogue { issue(name, c); return d }
func (d *dialogue) forge(name, note, text string) *dialogue {
	forge(name, signed{note, text})
	return d
}

func (d *dialogue) step(at int64, action string, value any) {
	if at < d.now {
		panic(fmt.Sprintf("%s: a step at %d after one at %d", d.name, at, d.now))
	}
	d.now = at
	d.steps = append(d.steps, fmt.Sprintf(`{"at_us": %d, %s: %s}`, at, compact(action), compact(value)))
}

// expect returns the members of the next poll. To keep the files small, what is
// the same as in the poll before is left out, and so are most hashes.
func (d *dialogue) expect() object {
	d.polls++
	out := object{{"poll", d.polls}, {"seq", d.pos.seq}}
	if d.unnumbered {
		out = out[1:]
	}
	now := object{{"log", d.pos.log}, {"hash", d.pos.hash}, {"keys", d.version}}
	for _, m := range now {
		if !slices.Contains(d.told, m) && (m.name != "hash" || d.hashes) {
			out = append(out, m)
		}
	}
	d.told = now
	return out
}

// poll has the verifier poll, and more says what else the poll must have.
func (d *dialogue) poll(at int64, more ...member) *dialogue {
	d.sent = at
	d.step(at, "poll", append(d.expect(), more...))
	return d
}

func (d *dialogue) confirm(at int64) *dialogue {
	d.sent, d.unnumbered = at, true
	d.step(at, "confirm", d.expect())
	return d
}

func (d *dialogue) release(at int64) *dialogue {
	d.step(at, "close", append(d.expect(), member{"release", true}))
	return d
}

func (d *dialogue) snapshot(at int64) *dialogue {
	d.step(at, "snapshot", true)
	return d
}

func (d *dialogue) lost(at int64) *dialogue {
	d.step(at, "lost", true)
	return d
}

func (d *dialogue) wallJump(at, by int64) *dialogue {
	d.step(at, "wall_jump_us", by)
	return d
}

// check takes pairs of a token and its verdict.
func (d *dialogue) check(at int64, pairs ...string) *dialogue {
	d.step(at, "check", d.verdicts(pairs))
	return d
}

func (d *dialogue) strictCheck(at int64, pairs ...string) *dialogue {
	d.step(at, "strict_check", d.verdicts(pairs))
	return d
}

func (d *dialogue) active(at int64, names ...string) *dialogue {
	for _, name := range names {
		used(name)
	}
	d.step(at, "active", names)
	return d
}

func (d *dialogue) verdicts(pairs []string) (o object) {
	for i := 0; i < len(pairs); i += 2 {
		used(pairs[i])
		o = append(o, member{pairs[i], pairs[i+1]})
	}
	return o
}

// A change makes the head of an answer differ from what is usual.
type change func(head *object)

func with(name string, value any) change { return func(head *object) { head.set(name, value) } }

// without removes a member.
func without(name string) change {
	return func(head *object) {
		*head = slices.DeleteFunc(*head, func(m member) bool { return m.name == name })
	}
}

// grantHead returns the head of a grant of n new lines.
func (d *dialogue) grantHead(n int, changes []change) object {
	next := at(d.log, d.pos.seq+n)
	head := object{
		{"poll", d.polls}, {"log", next.log}, {"seq", next.seq}, {"hash", next.hash}, {"entries", n}, {"lease_us", lease},
		{"time_us", start*second + d.sent}, {"horizon", d.horizon},
	}
	if d.keys != d.version {
		head.set("keys", "$"+d.keys)
	}
	if d.seen {
		head.set("report_seen", true)
	}
	if d.unnumbered {
		head.set("poll", "$poll")
	}
	for _, c := range changes {
		c(&head)
	}
	return head
}

// grant answers the poll with the lines that are new.
func (d *dialogue) grant(t int64, lines []string, changes ...change) *dialogue {
	d.reply(t, 200, d.grantHead(len(lines), changes), lines)
	d.pos = at(d.log, d.pos.seq+len(lines))
	d.version = d.keys
	return d
}

// badGrant answers with lines that must not be taken. Unless changes say
// otherwise, the head agrees with them.
func (d *dialogue) badGrant(t int64, lines []string, changes ...change) *dialogue {
	d.reply(t, 200, d.grantHead(len(lines), changes), lines)
	return d
}

// take answers with a snapshot that ends at seq.
func (d *dialogue) take(t int64, seq int, lines []string, changes ...change) *dialogue {
	d.badSnapshot(t, seq, lines, changes...)
	d.pos = at(d.log, seq)
	d.version = d.keys
	return d
}

func (d *dialogue) badSnapshot(t int64, seq int, lines []string, changes ...change) *dialogue {
	next := at(d.log, seq)
	head := object{
		{"log", next.log}, {"seq", next.seq}, {"hash", next.hash}, {"entries", len(lines)},
		{"time_us", start*second + t}, {"horizon", d.horizon}, {"everything", 0}, {"clients", object{}},
		{"keys", "$" + d.keys},
	}
	for _, c := range changes {
		c(&head)
	}
	d.reply(t, 200, head, lines)
	return d
}

// fail answers with an error.
func (d *dialogue) fail(t int64, status int, code string) *dialogue {
	d.reply(t, status, object{{"code", status}, {"error_code", code}}, nil)
	return d
}

func (d *dialogue) reply(t int64, status int, head object, lines []string) {
	d.now = max(d.now, t)
	b := fmt.Sprintf("{\"at_us\": %d, \"reply\": {\"status\": %d,\n      \"head\": %s", t, status, compact(head))
	if len(lines) > 0 {
		quoted := make([]string, len(lines))
		for i, line := range lines {
			quoted[i] = compact(line)
		}
		b += ",\n      \"lines\": [" + strings.Join(quoted, ",\n        ") + "]"
	}
	d.steps = append(d.steps, b+"}}")
}

// raw answers with a body as it is.
func (d *dialogue) raw(t int64, status int, body string) *dialogue {
	d.step(t, "reply", object{{"status", status}, {"body", body}})
	return d
}

// body returns what grant would send.
func (d *dialogue) body(lines []string, changes ...change) string {
	return compact(d.grantHead(len(lines), changes)) + "\n" + strings.Join(lines, "\n") + "\n"
}

// warm begins as most dialogues do: the log is empty, so the first poll at 0 is
// answered with keys and a lease until 3 s, and the second one is on its way.
func (d *dialogue) warm() *dialogue {
	return d.poll(0).grant(20*ms, nil).poll(20 * ms)
}

// again polls after an answer that was not good, after the pause that the
// verifier makes.
func (d *dialogue) again() *dialogue { return d.poll(d.now + 100*ms) }

// text returns the file: a step in a line, as far as that can be read.
func (d *dialogue) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{\n  \"name\": %s,\n  \"why\": %s,\n", compact(d.name), compact(d.why))
	if d.needs != nil {
		fmt.Fprintf(&b, "  \"needs\": %s,\n", compact(d.needs))
	}
	fmt.Fprintf(&b, "  \"audience\": %s,\n", compact(d.audience))
	if d.wall != start*second {
		fmt.Fprintf(&b, "  \"wall_us\": %d,\n", d.wall)
	}
	b.WriteString("  \"steps\": [")
	for i, s := range d.steps {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    " + s)
	}
	b.WriteString("\n  ]\n}\n")
	return b.String()
}
