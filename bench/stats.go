package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one row of the table.
type result struct {
	Scenario string        `json:"scenario"`
	What     string        `json:"what"`
	Path     string        `json:"path"` // what a request went through
	Clients  int           `json:"clients,omitempty"`
	Rate     float64       `json:"per_second,omitempty"`
	Low      float64       `json:"per_second_low,omitempty"`  // slowest round
	High     float64       `json:"per_second_high,omitempty"` // fastest round
	P50      time.Duration `json:"p50_ns,omitempty"`
	P99      time.Duration `json:"p99_ns,omitempty"`
	Max      time.Duration `json:"max_ns,omitempty"` // of all rounds
	// ServerCPU and ClientCPU are processor time per request, of either side.
	// Together they say how much of the machine the generator took.
	ServerCPU time.Duration `json:"server_cpu_ns,omitempty"`
	ClientCPU time.Duration `json:"client_cpu_ns,omitempty"`
	Value     string        `json:"value,omitempty"` // of what is no rate
	Target    string        `json:"target,omitempty"`
	Met       *bool         `json:"met,omitempty"` // nil without a target
}

// target notes what the row is held against.
func (r result) target(text string, met bool) result {
	r.Target, r.Met = text, &met
	return r
}

// percentile returns the nearest-rank percentile: the smallest value that at
// least p percent are not above. It sorts in place.
func percentile(d []time.Duration, p float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	if !slices.IsSorted(d) {
		slices.Sort(d)
	}
	n := p / 100 * float64(len(d))
	i := int(n)
	if float64(i) < n {
		i++
	}
	return d[min(max(i-1, 0), len(d)-1)]
}

func median(d []time.Duration) time.Duration { return percentile(d, 50) }

// measured is one round of a scenario.
type measured struct {
	took      []time.Duration // of the requests that count
	elapsed   time.Duration
	serverCPU time.Duration
	clientCPU time.Duration
}

func (m measured) rate() float64 {
	if m.elapsed <= 0 {
		return 0
	}
	return float64(len(m.took)) / m.elapsed.Seconds()
}

// summarize takes the median of the rounds, each figure by itself: a hiccup of
// the disk spoils the p99 of one round and the rate of none.
func summarize(r result, rounds []measured) result {
	var rates []float64
	var p50, p99, server, client []time.Duration
	for _, m := range rounds {
		rates = append(rates, m.rate())
		p50 = append(p50, percentile(m.took, 50))
		p99 = append(p99, percentile(m.took, 99))
		r.Max = max(r.Max, percentile(m.took, 100))
		n := time.Duration(max(len(m.took), 1))
		server = append(server, m.serverCPU/n)
		client = append(client, m.clientCPU/n)
	}
	if len(rates) == 0 {
		return r
	}
	slices.Sort(rates)
	r.Rate, r.Low, r.High = rates[(len(rates)-1)/2], rates[0], rates[len(rates)-1]
	r.P50, r.P99, r.ServerCPU, r.ClientCPU = median(p50), median(p99), median(server), median(client)
	return r
}

func writeTable(out io.Writer, rows []result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }
	line("what", "path", "clients", "per second", "(low–high)", "p50", "p99", "max", "CPU server/client", "target", "met")
	for _, r := range rows {
		rate, spread, cpu, met, clients := r.Value, "", "", "", ""
		if r.Rate > 0 {
			rate = fmt.Sprintf("%.0f", r.Rate)
			spread = fmt.Sprintf("%.0f–%.0f", r.Low, r.High)
		}
		if r.ServerCPU > 0 {
			cpu = short(r.ServerCPU) + " / " + short(r.ClientCPU)
		}
		if r.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*r.Met]
		}
		if r.Clients > 0 {
			clients = fmt.Sprint(r.Clients)
		}
		line(r.What, r.Path, clients, rate, spread, short(r.P50), short(r.P99), short(r.Max), cpu, r.Target, met)
	}
	return w.Flush()
}

// short writes a duration with as many digits as it deserves.
func short(d time.Duration) string {
	us := float64(d) / float64(time.Microsecond)
	switch {
	case d == 0:
		return ""
	case us < 10:
		return fmt.Sprintf("%.1f µs", us)
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 100_000:
		return fmt.Sprintf("%.1f ms", us/1000)
	}
	return fmt.Sprintf("%.0f ms", us/1000)
}
