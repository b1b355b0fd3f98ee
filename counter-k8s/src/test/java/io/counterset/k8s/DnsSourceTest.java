// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.CounterStore;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.PeersReport.Freshness;
import io.counterset.k8s.PeersReport.Peer;
import io.counterset.k8s.PeersReport.State;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The list of peers from a real DNS server that answers queries for addresses. */
class DnsSourceTest {

    private static final String NAME = "app-python-headless.demo.svc.cluster.local";

    @TempDir
    Path folder;

    private FakeDnsServer dns;
    private Path resolvConf;
    private final List<AutoCloseable> open = new ArrayList<>();
    private volatile Instant now = Instant.parse("2026-11-22T09:00:00Z");
    private final InstantSource clock = () -> now;

    @BeforeEach
    void start() throws IOException {
        dns = new FakeDnsServer();
        resolvConf = folder.resolve("resolv.conf");
        Files.writeString(
                resolvConf,
                "nameserver 10.96.0.10\nsearch demo.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n");
        open.add(dns);
    }

    @AfterEach
    void stop() throws Exception {
        for (int i = open.size() - 1; i >= 0; i--) {
            open.get(i).close();
        }
    }

    private PeersSettings settings(@Nullable Integer expected) {
        return new PeersSettings(
                PeersSettings.Choice.DNS,
                List.of(),
                "app-python-headless",
                null,
                expected,
                Duration.ofSeconds(5),
                Duration.ofSeconds(10),
                64,
                Duration.ZERO,
                Duration.ofDays(7),
                Path.of("not used"));
    }

    private DnsSource source(Replica replica, @Nullable Integer expected) {
        DnsSource source = new DnsSource(settings(expected), replica, dns.url(), resolvConf, clock, null);
        open.add(source);
        return source;
    }

    private DnsSource source(@Nullable Integer expected) {
        CounterStore store = CounterStore.open(folder.resolve("store-" + open.size()));
        open.add(store);
        return source(new Replica("app-python-0", store, "visits", 8080), expected);
    }

    private static Membership now(DnsSource source) {
        return source.membership().toCompletableFuture().join();
    }

    @Test
    void relativeNamesAreCompletedWithTheSearchDomains() throws IOException {
        assertThat(DnsSource.candidates("a", resolvConf))
                .containsExactly("a.demo.svc.cluster.local", "a.svc.cluster.local", "a.cluster.local", "a");
        assertThat(DnsSource.candidates("a.b.", resolvConf)).containsExactly("a.b");
        assertThat(DnsSource.candidates("a", folder.resolve("absent"))).containsExactly("a");
        Files.writeString(resolvConf, "domain x\nsearch\n");
        assertThat(DnsSource.candidates("a", resolvConf)).containsExactly("a");
    }

    /**
     * This test takes only a moment of real time, so the JVM's name cache, which lasts 30 s, would
     * be noticed.
     */
    @Test
    void answersAreCachedForFiveSeconds() {
        dns.put(NAME, "10.0.0.1", "10.0.0.2");
        DnsSource source = source(2);

        assertThat(now(source).members()).extracting(Member::address).containsExactly("10.0.0.1:8080", "10.0.0.2:8080");
        assertThat(now(source).isLive()).isTrue();
        assertThat(now(source).expected().names()).containsExactlyInAnyOrder("app-python-0", "app-python-1");
        assertThat(dns.asked).hasValue(1);
        dns.put(NAME, "10.0.0.1", "10.0.0.2", "10.0.0.3");
        now = now.plusMillis(4_999);
        assertThat(now(source).members()).hasSize(2);
        assertThat(dns.asked).hasValue(1);
        now = now.plusMillis(1);
        assertThat(now(source).members()).hasSize(3);
        assertThat(dns.asked).hasValue(2);
    }

    @Test
    void concurrentCallersShareOneLookup() {
        dns.put(NAME, "10.0.0.1");
        DnsSource source = source(1);
        List<CompletableFuture<Membership>> wanted = new ArrayList<>();
        for (int i = 0; i < 100; i++) {
            wanted.add(source.membership().toCompletableFuture());
        }
        wanted.forEach(membership -> assertThat(membership.join().members()).hasSize(1));
        assertThat(dns.asked).hasValue(1);
    }

    @Test
    void aThousandAddressesAreReadOverTcp() {
        List<String> addresses = new ArrayList<>();
        for (int i = 0; i < 1_000; i++) {
            addresses.add("10.1." + i / 250 + "." + (1 + i % 250));
        }
        dns.put(NAME, addresses.toArray(String[]::new));

        assertThat(now(source(1_000)).members()).hasSize(1_000);
        assertThat(dns.askedByTcp).hasValue(1);
    }

    @Test
    void ipv6AddressesAreUsedIfThereAreNoIpv4Addresses() {
        dns.put(NAME, "fd00::1");

        assertThat(now(source(1)).members()).extracting(Member::address).containsExactly("[fd00::1]:8080");
    }

    @Test
    void aFailedLookupKeepsTheLastPeers() {
        dns.put(NAME, "10.0.0.1", "10.0.0.2");
        DnsSource source = source(2);
        now(source);
        record Fault(Runnable begin, Runnable end, String reason) {}
        List<Fault> faults = List.of(
                new Fault(() -> dns.fail(true), () -> dns.fail(false), "DNS does not answer: "),
                new Fault(
                        () -> dns.remove(NAME),
                        () -> dns.put(NAME, "10.0.0.1", "10.0.0.2"),
                        "DNS has no name app-python-headless"),
                new Fault(
                        () -> dns.put(NAME),
                        () -> dns.put(NAME, "10.0.0.1", "10.0.0.2"),
                        "DNS has no addresses for " + NAME),
                new Fault(() -> dns.silence(true), () -> dns.silence(false), "DNS does not answer: "));
        for (Fault fault : faults) {
            now = now.plusSeconds(10);
            fault.begin().run();
            TestSettings.await(
                    () -> String.valueOf(now(source).source().reason()).startsWith(fault.reason()));
            now = now.plusSeconds(90);
            TestSettings.await(
                    () -> String.valueOf(now(source).source().reason()).startsWith(fault.reason()));
            DocumentedReasons.assertDocumented(
                    String.valueOf(now(source).source().reason()));
            assertThat(now(source).source().state()).isEqualTo(Freshness.STALE);
            assertThat(now(source).source().ageMillis()).isEqualTo(90_000);
            assertThat(now(source).members()).hasSize(2);
            // No retry at once: once the lookup in progress has ended, no other one begins.
            TestSettings.await(() -> {
                int asked = dns.asked.get();
                now(source);
                return dns.asked.get() == asked;
            });

            fault.end().run();
            now = now.plusSeconds(2);
            TestSettings.await(() -> now(source).isLive());
            assertThat(now(source).source().reason()).isNull();
        }
    }

    @Test
    void isUnavailableBeforeTheFirstAnswer() {
        DnsSource source = source(2);

        assertThat(now(source).source().state()).isEqualTo(Freshness.UNAVAILABLE);
        assertThat(now(source).source().reason()).isEqualTo("DNS has no name app-python-headless");
        assertThat(now(source).members()).isEmpty();
        assertThat(now(source).isLive()).isFalse();
    }

    // With real replicas

    private LoopbackPeer peer(String instance, String host, int port) throws IOException {
        LoopbackPeer peer = new LoopbackPeer(
                instance, new InetSocketAddress(InetAddress.getByName(host), port), folder.resolve(instance + host));
        open.add(peer);
        return peer;
    }

    private Peers peers(LoopbackPeer asker, @Nullable Integer expected) {
        Peers peers = TestSettings.list()
                .in(asker.directory)
                .open(asker.replica(), source(asker.replica(), expected), clock, Duration.ZERO);
        open.add(peers);
        return peers;
    }

    private PeersReport ask(Peers peers) {
        now = now.plusSeconds(6);
        return DocumentedReasons.documented(peers.report().toCompletableFuture().join());
    }

    private static List<String> states(PeersReport report) {
        return report.peers().stream()
                .map(peer -> peer.label() + " " + peer.state())
                .toList();
    }

    @Test
    void peersAreIdentifiedByTheirAnswersAndMissingOnesAreNamed() throws IOException {
        LoopbackPeer a = peer("app-python-0", "127.0.0.1", 0);
        LoopbackPeer b = peer("app-python-1", "127.0.0.2", a.address.getPort());
        b.add(5);
        dns.put(NAME, "127.0.0.1", "127.0.0.2");
        Peers peers = peers(a, 3);

        PeersReport report = ask(peers);
        assertThat(states(report)).containsExactly("app-python-0 live", "app-python-1 live", "app-python-2 missing");
        assertThat(report.expected()).isEqualTo(3);
        assertThat(report.answered()).isEqualTo(2);
        assertThat(report.complete()).isFalse();
        assertThat(report.peers().get(0).address()).isEqualTo(a.address());

        LoopbackPeer c = peer("app-python-2", "127.0.0.3", a.address.getPort());
        LoopbackPeer d = peer("app-python-3", "127.0.0.4", a.address.getPort());
        c.add(7);
        d.add(9);
        dns.put(NAME, "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4");
        PeersReport grown = ask(peers);
        assertThat(grown.complete()).as("more replicas than expected").isTrue();
        assertThat(grown.expected()).isEqualTo(4);
        assertThat(grown.total()).isEqualTo(21);

        b.stop();
        PeersReport silent = ask(peers);
        assertThat(states(silent)).contains("app-python-1 unreachable");
        assertThat(silent.total()).isEqualTo(21);
        assertThat(silent.expected()).isEqualTo(4);
        d.stop();
        dns.put(NAME, "127.0.0.1", "127.0.0.3");
        PeersReport gone = ask(peers);
        assertThat(states(gone))
                .containsExactly(
                        "app-python-0 live", "app-python-1 missing", "app-python-2 live", "app-python-3 retired");
        assertThat(gone.expected()).isEqualTo(3);
        assertThat(gone.complete()).isFalse();
    }

    @Test
    void aReusedAddressIsNotAttributedToItsFormerOwner() throws IOException {
        LoopbackPeer a = peer("app-python-0", "127.0.0.1", 0);
        LoopbackPeer b = peer("app-python-1", "127.0.0.2", a.address.getPort());
        b.add(5);
        dns.put(NAME, "127.0.0.1", "127.0.0.2");
        Peers peers = peers(a, 2);
        assertThat(ask(peers).complete()).isTrue();

        b.rename("other-release-1");
        PeersReport foreign = ask(peers);
        assertThat(states(foreign))
                .containsExactlyInAnyOrder("app-python-0 live", "app-python-1 missing", b.address() + " unreachable");
        assertThat(foreign.peers())
                .filteredOn(peer -> peer.state() == State.UNREACHABLE)
                .extracting(Peer::reason)
                .containsExactly("answered as other-release-1, which is not a replica of app-python");
        assertThat(foreign.total()).isEqualTo(5);
        assertThat(foreign.complete()).isFalse();

        b.rename("app-python-0");
        assertThat(ask(peers).peers())
                .filteredOn(peer -> peer.state() == State.UNREACHABLE)
                .extracting(Peer::reason)
                .containsExactly("answered as app-python-0, which is the name of the replica that asks");
    }

    @Test
    void withoutAnExpectedNumberNoReportIsComplete() throws IOException {
        LoopbackPeer a = peer("app-python-0", "127.0.0.1", 0);
        dns.put(NAME, "127.0.0.1");

        PeersReport report = ask(peers(a, null));
        assertThat(report.answered()).isEqualTo(1);
        assertThat(report.expected()).isEqualTo(1);
        assertThat(report.complete()).isFalse();
        assertThat(report.source().reason()).startsWith("counter.peers.expected is not set");
    }

    @Test
    void rememberedPeersAreAskedAfterARestartWithoutDns() throws IOException {
        LoopbackPeer a = peer("app-python-0", "127.0.0.1", 0);
        LoopbackPeer b = peer("app-python-1", "127.0.0.2", a.address.getPort());
        b.add(5);
        dns.put(NAME, "127.0.0.1", "127.0.0.2");
        Peers before = peers(a, 2);
        assertThat(ask(before).complete()).isTrue();
        before.close();
        dns.remove(NAME);
        b.add(1);

        PeersReport report = ask(peers(a, 2));
        assertThat(states(report)).containsExactly("app-python-0 live", "app-python-1 live");
        assertThat(report.total()).isEqualTo(6);
        assertThat(report.complete()).as("there may be other replicas by now").isFalse();
        assertThat(report.source().state()).isEqualTo(Freshness.UNAVAILABLE);
    }
}
