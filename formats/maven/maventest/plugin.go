package maventest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// AddPlugin publishes a Maven plugin with one goal, "deps", that asks Maven for
// the project's dependencies of all scopes and then does nothing: with it the
// real mvn resolves a project against this repository alone. The goal can be
// called as prefix:deps where settings.xml names the group in pluginGroups.
func (r *Registry) AddPlugin(group, art, prefix, version string) {
	p := Package{Group: group, Artifact: art, Version: version, Packaging: "maven-plugin"}
	const class = "example/larder/DepsMojo"
	descriptor := fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<plugin>
  <name>%[2]s</name><description>resolves</description>
  <groupId>%[1]s</groupId><artifactId>%[2]s</artifactId><version>%[3]s</version>
  <goalPrefix>%[4]s</goalPrefix><isolatedRealm>false</isolatedRealm><inheritedByDefault>true</inheritedByDefault>
  <mojos><mojo>
    <goal>deps</goal><requiresDependencyResolution>test</requiresDependencyResolution>
    <requiresDirectInvocation>false</requiresDirectInvocation><requiresProject>true</requiresProject>
    <requiresReports>false</requiresReports><aggregator>false</aggregator><requiresOnline>false</requiresOnline>
    <inheritedByDefault>true</inheritedByDefault><implementation>%[5]s</implementation><language>java</language>
    <instantiationStrategy>per-lookup</instantiationStrategy><executionStrategy>once-per-session</executionStrategy>
    <threadSafe>true</threadSafe><parameters/>
  </mojo></mojos>
  <dependencies/>
</plugin>
`, group, art, version, prefix, strings.ReplaceAll(class, "/", "."))
	dir, stem := Dir(group, art, version), art+"-"+version
	r.Put(dir+stem+".pom", p.pom(), Epoch)
	r.Put(dir+stem+".jar", archive([]entry{
		{"META-INF/MANIFEST.MF", []byte("Manifest-Version: 1.0\r\n\r\n")},
		{"META-INF/maven/plugin.xml", []byte(descriptor)},
		{class + ".class", emptyMojo(class)},
	}), Epoch)
	p.At = Epoch
	r.list(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, have := range r.plugins[group] {
		if have.artifact == art {
			return
		}
	}
	r.plugins[group] = append(r.plugins[group], plugin{prefix, art})
}

// emptyMojo assembles the class file of
//
//	public class X extends AbstractMojo { public X() {}  public void execute() {} }
//
// (Java virtual machine specification, chapter 4; class file version 49, which
// needs no stack maps).
func emptyMojo(class string) []byte {
	var b bytes.Buffer
	u1 := func(v byte) { b.WriteByte(v) }
	u2 := func(v uint16) { b.Write(binary.BigEndian.AppendUint16(nil, v)) }
	u4 := func(v uint32) { b.Write(binary.BigEndian.AppendUint32(nil, v)) }
	utf8 := func(s string) { u1(1); u2(uint16(len(s))); b.WriteString(s) }
	method := func(name uint16, code ...byte) {
		u2(1) // public
		u2(name)
		u2(6) // ()V
		u2(1) // one attribute
		u2(7) // Code
		u4(uint32(12 + len(code)))
		u2(1) // stack
		u2(1) // locals
		u4(uint32(len(code)))
		b.Write(code)
		u2(0) // exceptions
		u2(0) // attributes
	}
	u4(0xCAFEBABE)
	u2(0)
	u2(49)
	u2(11)      // constants + 1
	utf8(class) // 1
	u1(7)
	u2(1)                                        // 2 this class
	utf8("org/apache/maven/plugin/AbstractMojo") // 3
	u1(7)
	u2(3)           // 4 super class
	utf8("<init>")  // 5
	utf8("()V")     // 6
	utf8("Code")    // 7
	utf8("execute") // 8
	u1(12)
	u2(5)
	u2(6) // 9 <init>()V
	u1(10)
	u2(4)
	u2(9)    // 10 AbstractMojo.<init>()V
	u2(0x21) // public, super
	u2(2)
	u2(4)
	u2(0)                              // interfaces
	u2(0)                              // fields
	u2(2)                              // methods
	method(5, 0x2A, 0xB7, 0, 10, 0xB1) // aload_0, invokespecial #10, return
	method(8, 0xB1)                    // return
	u2(0)                              // attributes
	return b.Bytes()
}
