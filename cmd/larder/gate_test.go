package main

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"larder/cache/catalog"
	"larder/cache/store"
	"larder/proxy/identity"
)

// TestFirstAdministratorComesOnce holds that an environment which somebody else
// has seen does not come back in once its key was deleted.
func TestFirstAdministratorComesOnce(t *testing.T) {
	db, err := store.Open(store.Config{Dir: "store", FS: vfs.NewMem(), BlockCache: 4 << 20, FreeSpace: func(string) (int64, int64, error) { return 1 << 40, 1 << 40, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	cat, err := catalog.New(catalog.Config{Store: db, Domain: "main"})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := identity.OpenKeyring(identity.KeyringConfig{Dir: t.TempDir() + "/keys"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(adminKeyEnv, "AKIALEAKED")
	t.Setenv(adminSecretEnv, "a secret that was seen")
	start := func() {
		t.Helper()
		if err := firstAdmin(cat, ring, "000000000000", slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	start()
	if _, err := cat.Credential("AKIALEAKED"); err != nil {
		t.Fatal(err)
	}
	if _, err := cat.Propose("", "test", &catalog.DeleteCredential{ID: "AKIALEAKED"}); err != nil {
		t.Fatal(err)
	}
	start()
	if _, err := cat.Credential("AKIALEAKED"); !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("the deleted administrator is back: %v", err)
	}
}
