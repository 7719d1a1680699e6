package rig

import (
	"slices"
	"testing"
)

func TestLastArrivals(t *testing.T) {
	for _, test := range []struct {
		name  string
		marks [][]mark
		first int64
		last  []int64
	}{
		{"nobody", nil, 0, nil},
		{"one saw nothing", [][]mark{{{1, 0}, {2, 1}}, nil}, 0, nil},
		{"one by one", [][]mark{{{1, 0}, {2, 1}, {4, 2}}, {{1, 0}, {3, 1}, {5, 2}}}, 1, []int64{3, 5}},
		{"several at once", [][]mark{{{1, 0}, {9, 3}}, {{1, 0}, {3, 1}, {5, 3}}}, 1, []int64{9, 9, 9}},
		{"different ends", [][]mark{{{1, 2}, {2, 4}, {3, 5}}, {{1, 0}, {7, 4}}}, 3, []int64{7, 7}},
	} {
		first, last := lastArrivals(test.marks)
		if first != test.first || !slices.Equal(last, test.last) {
			t.Errorf("%s: from %d on %v, want from %d on %v", test.name, first, last, test.first, test.last)
		}
	}
}
