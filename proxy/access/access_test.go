package access

import (
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/policy"
)

// node is a gate over an empty catalog, with a clock that a test moves.
type node struct {
	t    *testing.T
	cat  *catalog.Catalog
	gate *Gate
	at   time.Time
}

const owner = "111122223333"

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, at: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	now := func() time.Time { return n.at }
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), BlockCache: 4 << 20, Now: now, FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if n.cat, err = catalog.New(catalog.Config{Store: db, Domain: "main", Now: now}); err != nil {
		t.Fatal(err)
	}
	if n.gate, err = New(Config{Catalog: n.cat, Owner: owner, Domain: "main", Now: now}); err != nil {
		t.Fatal(err)
	}
	n.cat.Watch(func(s *catalog.State) {
		if err := n.gate.Refresh(s); err != nil {
			t.Error(err)
		}
	})
	n.must("main", &catalog.CreateDomain{Owner: owner})
	n.must("main", &catalog.CreateRepository{Name: "repo", Administrator: owner})
	return n
}

func (n *node) must(domain string, op catalog.Op) {
	n.t.Helper()
	if _, err := n.cat.Propose(domain, "test", op); err != nil {
		n.t.Fatal(err)
	}
}

// robot enters a robot token and returns its secret.
func (n *node) robot(id string, row catalog.Credential) string {
	n.t.Helper()
	secret := "lrd_" + id + "_secret"
	sum := sha256.Sum256([]byte(secret))
	row.ID, row.Kind, row.SHA256, row.Account, row.Created = "lrd_"+id, catalog.RobotToken, sum[:], owner, n.at
	n.must("", &catalog.PutCredential{Credential: row})
	return secret
}

func (n *node) may(secret string, a policy.Action) bool {
	n.t.Helper()
	c, err := n.gate.ByToken(secret)
	if err != nil {
		n.t.Fatal(err)
	}
	res := policy.ARN{Kind: policy.PackageARN, Owner: owner, Domain: "main", Repository: "repo", Format: "npm", Name: "x"}
	return n.gate.Decide(c, a, res, Circumstances{Now: n.at}).Verdict == policy.Allow
}

// TestVanishedPolicyGrantsNothing holds that a robot token whose policy was
// taken out of the configuration does not get the rights of its user instead.
func TestVanishedPolicyGrantsNothing(t *testing.T) {
	n := newNode(t)
	n.must("", &catalog.PutCredential{Credential: catalog.Credential{ID: "AKIA1", Kind: catalog.AccessKey, User: "admin", Account: owner, Admin: true}})
	if !n.may(n.robot("plain", catalog.Credential{User: "admin"}), policy.DeletePackageVersions) {
		t.Fatal("a token without policies has not its user's rights")
	}
	if n.may(n.robot("narrow", catalog.Credential{User: "admin", Policies: []string{"ci-read"}}), policy.DeletePackageVersions) {
		t.Error("a token whose one policy is gone has all rights of its user")
	}
}

// TestCredentialsEndAtOnce holds that remembering a credential does not prolong it.
func TestCredentialsEndAtOnce(t *testing.T) {
	n := newNode(t)
	refused := func(secret, why string) {
		t.Helper()
		if _, err := n.gate.ByToken(secret); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", why, err)
		}
	}
	known := func(secret string) {
		t.Helper()
		if _, err := n.gate.ByToken(secret); err != nil {
			t.Fatal(err)
		}
	}
	expiring := n.robot("a", catalog.Credential{User: "u", Admin: true, Expires: n.at.Add(time.Hour)})
	disabled := n.robot("b", catalog.Credential{User: "u", Admin: true})
	deleted := n.robot("c", catalog.Credential{User: "u", Admin: true})
	for _, s := range []string{expiring, disabled, deleted} {
		known(s)
	}
	row, err := n.cat.Credential("lrd_b")
	if err != nil {
		t.Fatal(err)
	}
	row.Disabled = true
	n.must("", &catalog.PutCredential{Credential: *row})
	refused(disabled, "disabled")
	n.must("", &catalog.DeleteCredential{ID: "lrd_c"})
	refused(deleted, "deleted")
	known(expiring)
	n.at = n.at.Add(time.Hour + time.Second)
	refused(expiring, "expired")
}

// TestReloadKeepsTheNewestState holds that a state which was read before another
// one was put into force does not undo it.
func TestReloadKeepsTheNewestState(t *testing.T) {
	n := newNode(t)
	old := n.cat.State()
	n.must("main", &catalog.PutRepositoryPolicy{Repository: "repo", Document: `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"codeartifact:*","Resource":"*"}}`})
	secret := n.robot("a", catalog.Credential{User: "u", Admin: true})
	if n.may(secret, policy.PublishPackageVersion) {
		t.Fatal("a denied publish is allowed")
	}
	if err := n.gate.Refresh(old); err != nil {
		t.Fatal(err)
	}
	if n.may(secret, policy.PublishPackageVersion) {
		t.Error("an older state is in force again")
	}
}
