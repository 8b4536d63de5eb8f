package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// table gathers rows: what was measured, the figures, the bar and whether it
// was reached.
type table struct{ rows [][]string }

func (t *table) add(what, figure, bar string, ok bool) {
	mark := "reached"
	if !ok {
		mark = "NOT reached"
	}
	if bar == "" {
		mark = ""
	}
	t.rows = append(t.rows, []string{what, figure, bar, mark})
}

func (t *table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(tw, "CASE\tMEASURED\tBAR\t")
	for _, r := range t.rows {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r[0], r[1], r[2], r[3])
	}
	tw.Flush()
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}
