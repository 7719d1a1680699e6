package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[len(hundred)-1-i] = time.Duration(i + 1) // 100 … 1
	}
	for _, test := range []struct {
		of   []time.Duration
		p    float64
		want time.Duration
	}{
		{nil, 50, 0},
		{[]time.Duration{7}, 0, 7},
		{[]time.Duration{7}, 99, 7},
		{[]time.Duration{3, 1, 2}, 50, 2},
		{[]time.Duration{4, 1, 3, 2}, 50, 2}, // nearest rank, not a mean
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.5, 100},
		{hundred, 100, 100},
	} {
		if got := percentile(test.of, test.p); got != test.want {
			t.Errorf("percentile %g of %v = %d, want %d", test.p, test.of, got, test.want)
		}
	}
}

func TestSummarize(t *testing.T) {
	round := func(n int, each, elapsed time.Duration) measured {
		m := measured{elapsed: elapsed, serverCPU: time.Duration(n) * 10, clientCPU: time.Duration(n)}
		for range n {
			m.took = append(m.took, each)
		}
		return m
	}
	r := summarize(result{What: "x"}, []measured{
		round(100, 5, time.Second), round(300, 9, time.Second), round(200, 7, time.Second),
	})
	if r.Rate != 200 || r.Low != 100 || r.High != 300 || r.P50 != 7 || r.P99 != 7 || r.Max != 9 || r.ServerCPU != 10 || r.ClientCPU != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	rows := []result{
		result{What: "refresh", Clients: 64, Rate: 5000, Low: 4000, High: 6000, P50: time.Millisecond, P99: 40 * time.Millisecond}.target("≥ 6,000/s", false),
		{What: "growth", Value: "7 bytes"},
	}
	if err := writeTable(&out, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5000", "4000–6000", "1.0 ms", "40.0 ms", "≥ 6,000/s", "NO", "7 bytes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "", 950: "0.9 µs", 81 * time.Microsecond: "81 µs", 1500 * time.Microsecond: "1.5 ms", 151 * time.Millisecond: "151 ms",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestStatTime(t *testing.T) {
	const stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000 0 0"
	if got := statTime(stat); got != 3*time.Second {
		t.Errorf("got %v, want 3s", got)
	}
	if got := statTime("42 (a)"); got != 0 {
		t.Errorf("of a short line: %v", got)
	}
}

func TestMountedAt(t *testing.T) {
	const mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n"
	for path, want := range map[string]string{"/var/tmp": "ext4", "/tmp": "tmpfs", "/tmp/x": "tmpfs", "/tmp/disk/y": "xfs", "/tmpfoo": "ext4", "/": "ext4"} {
		if got := mountedAt(mounts, path); got != want {
			t.Errorf("%s is on %q, want %q", path, got, want)
		}
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags([]string{"-seconds", "5", "-only", "disk,logout", "-json"})
	if err != nil || o.seconds != 5 || !o.only["disk"] || !o.only["logout"] || o.only["floor"] || !o.json {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, args := range [][]string{{"-only", "nothing"}, {"-seconds", "0"}, {"-rounds", "0"}} {
		if _, err := parseFlags(args); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
}
