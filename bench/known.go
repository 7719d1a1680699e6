package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/guard"
	"github.com/curfewhq/curfew/internal/token"
)

const (
	knownTokens = 10_000
	newPerRound = 2000 // tokens seen for the first time
)

// guard is the price of one check in process: a real guard follows a real feed
// over HTTP. The feed's other end is a process of its own.
func (b *bench) guard() error {
	n, err := signer()
	if err != nil {
		return err
	}
	hub, err := startHub(hubSetup{Issuer: nodeIssuer, JWKS: n.jwks, Entries: million})
	if err != nil {
		return err
	}
	defer hub.stop()
	g, err := guard.Open(b.ctx, guard.Config{Authority: hub.url, Audience: nodeAudience})
	if err != nil {
		return err
	}
	defer g.Close()
	if held := g.Status().Entries; held != million {
		return fmt.Errorf("the guard holds %d revocations", held)
	}
	if err := b.guardKnown(n, hub, g); err != nil {
		return err
	}
	return b.guardFirst(n, g)
}

// signer is a key of an authority that does not run.
func signer() (*node, error) {
	private, err := token.GenerateKey(token.ES256)
	if err != nil {
		return nil, err
	}
	kid, err := token.KeyID(private.Public())
	if err != nil {
		return nil, err
	}
	s, err := token.NewSigner(kid, token.ES256, private)
	if err != nil {
		return nil, err
	}
	return &node{sign: s, jwks: token.NewKeySet(s.Public()).JWKS()}, nil
}

// tokens signs n tokens of sessions of their own.
func (n *node) tokens(count int) ([]string, error) {
	list := make([]session, count)
	for i := range list {
		list[i] = session{ID: curfew.NewID(), Subject: curfew.NewID()}
	}
	if err := n.mint(list); err != nil {
		return nil, err
	}
	out := make([]string, count)
	for i := range list {
		out[i] = list[i].Access
	}
	return out, nil
}

func (b *bench) guardKnown(n *node, hub *hubProc, g *guard.Guard) error {
	raw, err := n.tokens(knownTokens)
	if err != nil {
		return err
	}
	verifyAll := func() error {
		for _, t := range raw {
			if _, err := g.Verify(b.ctx, t); err != nil {
				return err
			}
		}
		return nil
	}
	// Twice: what the first pass has put in, the second finds.
	if err := errors.Join(verifyAll(), verifyAll()); err != nil {
		return err
	}
	for _, rate := range []int{0, 1000} {
		if _, err := hub.rate(rate); err != nil {
			return err
		}
		var took []time.Duration
		var slow []float64
		allocations := uint64(1 << 60)
		before := g.Status().Seq
		begin := time.Now()
		for end := begin.Add(b.length() * time.Duration(b.opts.rounds)); time.Now().Before(end); {
			var m0, m1 runtime.MemStats
			runtime.ReadMemStats(&m0)
			start := time.Now()
			if err := verifyAll(); err != nil {
				return err
			}
			took = append(took, time.Since(start)/knownTokens)
			runtime.ReadMemStats(&m1)
			allocations = min(allocations, m1.Mallocs-m0.Mallocs)
		}
		arrived := float64(g.Status().Seq-before) / time.Since(begin).Seconds()
		missed, err := misses(b.ctx, g, raw)
		if err != nil {
			return err
		}
		slow = append(slow, missed)
		r := result{
			Scenario: "guard", What: "guard.Verify, known token", Clients: 1,
			Path: fmt.Sprintf("%d tokens in turn, %d live revocations, %.0f new ones per second; passes of all tokens", knownTokens, million, arrived),
			P50:  median(took), P99: percentile(took, 99),
			Value: fmt.Sprintf("%.2f allocations, %.1f %% verified again", float64(allocations)/knownTokens, 100*slices.Max(slow)),
		}
		if rate > 0 && arrived < 0.9*float64(rate) {
			return fmt.Errorf("only %.0f revocations per second arrived", arrived)
		}
		// What the follower allocates meanwhile is counted too, so fewer than
		// one in a hundred checks is none.
		b.add(r.target("< 500 ns, 0 allocations", r.P50 < 500*time.Nanosecond && allocations < knownTokens/100))
	}
	_, err = hub.rate(0)
	return err
}

// misses returns the share of tokens whose check takes as long as a signature.
func misses(ctx context.Context, g *guard.Guard, raw []string) (float64, error) {
	slow := 0
	for _, t := range raw {
		start := time.Now()
		if _, err := g.Verify(ctx, t); err != nil {
			return 0, err
		}
		if time.Since(start) > 20*time.Microsecond {
			slow++
		}
	}
	return float64(slow) / float64(len(raw)), nil
}

// bare is a token as the bare signature check needs it.
type bare struct {
	signed    string
	signature []byte // DER
}

func strip(raw string) (bare, error) {
	i := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil || len(sig) != 64 {
		return bare{}, errors.Join(errors.New("no ES256 signature"), err)
	}
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])})
	return bare{raw[:i], der}, err
}

// guardFirst compares a token that is seen for the first time with the bare
// check of its signature, in turn.
func (b *bench) guardFirst(n *node, g *guard.Guard) error {
	pub, ok := n.sign.Public().Key.(*ecdsa.PublicKey)
	if !ok {
		return errors.New("no ECDSA key")
	}
	var whole, alone []time.Duration
	var ratios []float64
	for range 5 * b.opts.rounds {
		raw, err := n.tokens(newPerRound)
		if err != nil {
			return err
		}
		bares := make([]bare, len(raw))
		for i := range raw {
			if bares[i], err = strip(raw[i]); err != nil {
				return err
			}
		}
		// In small turns, so that both have the same share of a bad moment.
		var inGuard, inLibrary time.Duration
		const turn = 50
		for first := 0; first < len(raw); first += turn {
			start := time.Now()
			for _, t := range raw[first : first+turn] {
				if _, err := g.Verify(b.ctx, t); err != nil {
					return err
				}
			}
			middle := time.Now()
			for _, t := range bares[first : first+turn] {
				digest := sha256.Sum256([]byte(t.signed))
				if !ecdsa.VerifyASN1(pub, digest[:], t.signature) {
					return errors.New("a signature is wrong")
				}
			}
			inGuard += middle.Sub(start)
			inLibrary += time.Since(middle)
		}
		whole = append(whole, inGuard/newPerRound)
		alone = append(alone, inLibrary/newPerRound)
		ratios = append(ratios, float64(inGuard)/float64(inLibrary))
	}
	slices.Sort(ratios)
	ratio := ratios[len(ratios)/2]
	b.add(result{
		Scenario: "guard", What: "signature alone", Path: "crypto/sha256 and ecdsa.VerifyASN1 on the same tokens, taken apart beforehand", Clients: 1,
		P50: median(alone), P99: percentile(alone, 99),
	})
	b.add(result{
		Scenario: "guard", What: "guard.Verify, first seen", Path: "other tokens each round, in turn with the row above", Clients: 1,
		P50: median(whole), P99: percentile(whole, 99), Value: fmt.Sprintf("%.3f times the row above", ratio),
	}.target("≤ 1.10 times", ratio <= 1.10))
	return nil
}
