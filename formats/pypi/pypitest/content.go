package pypitest

// addDefaults publishes the default content:
//
//	larder-apple   1.0, 1.1, 2.0rc1 (prerelease); wheels and a source
//	Larder_Berry   0.9, 1.0 -> larder-apple; extra "jam" -> larder-sugar
//	larder-cherry  1.0 -> Larder_Berry[jam], larder-date
//	larder-date    1.0, 1.1, 1.2 (yanked), 2.0 (for a Python that does not exist)
//	larder.elder   1.0, source only -> larder-sugar
//	larder-fig     1.0 -> larder-apple; no core metadata upstream
//	larder-grape   1.0, 3 MiB, a local version label 1.0+seedless besides
//	larder-honey   1.0, console command, provenance, archived
//	larder-sugar   1.0
func addDefaults(r *Registry) {
	for _, p := range []Package{
		{Name: "larder-apple", Version: "1.0", Source: true, RequiresPython: ">=3.6", Summary: "An apple"},
		{Name: "larder-apple", Version: "1.1", Source: true, RequiresPython: ">=3.6", Summary: "A better <apple> & more"},
		{Name: "larder-apple", Version: "2.0rc1", RequiresPython: ">=3.6"},
		{Name: "Larder_Berry", Version: "0.9", Requires: []string{"larder-apple"}},
		{Name: "Larder_Berry", Version: "1.0", Source: true, Requires: []string{"larder_apple>=1.1", `Larder.Sugar; extra == "jam"`}, Extras: []string{"jam"}},
		{Name: "larder-cherry", Version: "1.0", RequiresPython: ">=3.6", Requires: []string{"Larder-Berry[jam]<2", "larder-date"}},
		{Name: "larder-date", Version: "1.0"},
		{Name: "larder-date", Version: "1.1"},
		{Name: "larder-date", Version: "1.2", Yanked: true, YankedReason: `breaks "everything" <at once>`},
		{Name: "larder-date", Version: "2.0", RequiresPython: ">=9.9"},
		{Name: "larder.elder", Version: "1.0", NoWheel: true, Requires: []string{"larder-sugar"}},
		{Name: "larder-fig", Version: "1.0", Bare: true, RequiresPython: ">=3.6", Requires: []string{"larder-apple"}},
		{Name: "larder-grape", Version: "1.0", Size: 3 << 20},
		{Name: "larder-grape", Version: "1.0+seedless", Size: 1 << 10},
		{Name: "larder-honey", Version: "1.0", Scripts: map[string]string{"larder-honey": "honey from the larder"}, Proven: true},
		{Name: "larder-sugar", Version: "1.0"},
	} {
		r.Add(p)
	}
	r.SetStatus("larder-honey", "archived", "the bees have left")
}
