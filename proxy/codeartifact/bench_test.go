package codeartifact

import (
	"fmt"
	"testing"

	"larder/cache/catalog"
)

// BenchmarkListPackages reads one page of 100 at the beginning and at the end of
// 20,000 packages: the two cost the same.
func BenchmarkListPackages(b *testing.B) {
	w := newWorld(b)
	w.site("main", "team")
	const all = 20000
	for i := range all {
		n, _ := fakeNPM{}.name(fmt.Sprintf("p%05d", i))
		if _, err := w.cat.Propose("main", "b", &catalog.PutOrigin{Repository: "team", Format: "npm", Name: n, Publish: "ALLOW", Upstream: "ALLOW"}); err != nil {
			b.Fatal(err)
		}
	}
	c := &call{h: w.h, op: &operation{name: "ListPackages"}, caller: Caller{Account: account}, args: arguments{"domain": "main", "repository": "team"}}
	for _, after := range []int{0, all - 200} {
		token, err := c.token(fmt.Sprintf("npm\x00p%05d", after))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint("after", after), func(b *testing.B) {
			for b.Loop() {
				w.must("ListPackages", given{"domain": "main", "repository": "team", "nextToken": token})
			}
		})
	}
}
