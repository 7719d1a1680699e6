package main

import (
	"bufio"
	"strings"
	"testing"

	"github.com/curfewhq/curfew/internal/feed"
)

// What a simulated verifier would let pass counts as enforced.
func TestSimulatedVerifierRefusesGrantsThatAreNotWhole(t *testing.T) {
	const (
		head = `{"poll":3,"log":"aa","seq":7,"hash":"bb","entries":2,"lease_us":3000000,"time_us":1,"horizon":0}` + "\n"
		six  = "6 session 00 1 - user\n"
		next = "7 session 01 1 - user\n"
	)
	for _, test := range []struct {
		name, body string
		whole      bool
	}{
		{"whole", head + six + next, true},
		{"an entry is missing", head + six, false},
		{"an entry is cut off", head + six + next[:len(next)-1], false},
		{"out of order", head + next + six, false},
		{"one too many", head + six + next + "8 session 02 1 - user\n", false},
		{"of another poll", strings.Replace(head, `"poll":3`, `"poll":2`, 1) + six + next, false},
		{"of another log", strings.Replace(head, `"aa"`, `"ab"`, 1) + six + next, false},
		{"without a lease", strings.Replace(head, "3000000", "0", 1) + six + next, false},
		{"nothing", "", false},
	} {
		v := &verifier{poll: 3, at: feed.SnapshotHeader{Log: "aa", Seq: 5}}
		err := v.accept([]byte(test.body))
		if (err == nil) != test.whole {
			t.Errorf("%s: %v", test.name, err)
		}
		want := feed.SnapshotHeader{Log: "aa", Seq: 5}
		if test.whole {
			want.Seq, want.Hash = 7, "bb"
		}
		if v.at.Seq != want.Seq || v.at.Hash != want.Hash {
			t.Errorf("%s: stands at %d %q", test.name, v.at.Seq, v.at.Hash)
		}
	}
}

func TestMessagesOfRedis(t *testing.T) {
	const wire = "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n" + "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n17 x\r\n"
	r := bufio.NewReader(strings.NewReader(wire + wire))
	for range 2 {
		if text, err := readPush(r); text != nil || err != nil {
			t.Fatalf("subscribe: %q, %v", text, err)
		}
		if text, err := readPush(r); string(text) != "17 x" || err != nil {
			t.Fatalf("message: %q, %v", text, err)
		}
	}
	if _, err := readPush(bufio.NewReader(strings.NewReader("-ERR no\r\n"))); err == nil {
		t.Error("an error of Redis passed")
	}
}
