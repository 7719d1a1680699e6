package token

import (
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
)

// twin returns the other ECDSA signature (r, n-s) of raw in its place.
func twin(t testing.TB, raw string) string {
	t.Helper()
	dot := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(new(big.Int).SetBytes(p256Order[:]), s).FillBytes(sig[32:])
	return raw[:dot+1] + b64(string(sig))
}
