package formats

import "context"

// Machine is what discovery may see of the machine larder starts on. Tests give
// a fake one; cmd/larder gives the real one.
type Machine interface {
	Getenv(key string) string
	Home() string
	// ReadFile reads at most 32 MiB.
	ReadFile(path string) ([]byte, error)
	Glob(pattern string) []string
	// LookPath is exec.LookPath with symbolic links resolved.
	LookPath(name string) (string, error)
	// Run starts a client with extra environment entries and returns its
	// standard output and standard error together. It is bounded in time; a
	// non-zero exit is an *exec.ExitError with the output still returned.
	Run(ctx context.Context, env []string, name string, args ...string) (string, error)
	// TempDir is an empty directory that discovery may let a client write to;
	// it is removed afterwards.
	TempDir() string
}

// Registry is one registry that the machine's client uses.
type Registry struct {
	Name    string            // external connection name: "public:npmjs" where CodeArtifact has a name for the role, else "public:" + format
	Store   string            // repository name that fronts it: "npm-store"
	URL     string            // base, with trailing slash; may hold user information, which becomes a bound credential
	Options map[string]string // format's own settings
}

// Finding is the outcome of one format's discovery.
type Finding struct {
	Registries []Registry
	Where      string // "npm config (user .npmrc)", "pip's built-in default", ...
	Missing    string // when nothing was found: why, one clause
	Example    string // config lines to write when nothing was found (TOML, registry.example)
}

// Discoverer learns which registry this machine's client uses. It prefers
// reading files to starting a client, since a node must be ready in a second.
type Discoverer interface {
	Discover(ctx context.Context, m Machine) Finding
	// Setup is the one line that points the client at an endpoint
	// ("npm config set registry BASE/").
	Setup(base string) string
}
