// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.counterset.CounterStore;
import io.counterset.k8s.FakeApiServer.Kind;
import io.counterset.k8s.PeersReport.Freshness;
import io.micronaut.context.ApplicationContext;
import io.micronaut.health.HealthStatus;
import io.micronaut.inject.qualifiers.Qualifiers;
import io.micronaut.management.health.indicator.HealthIndicator;
import io.micronaut.management.health.indicator.HealthResult;
import io.micronaut.management.health.indicator.annotation.Liveness;
import io.micronaut.management.health.indicator.annotation.Readiness;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.InstantSource;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import reactor.core.publisher.Mono;

/** The choice of the source of peers, and the reason given for it. */
class ChosenSourceTest {

    @TempDir
    Path folder;

    private FakeApiServer server;
    private FakeDnsServer dns;
    private CounterStore store;
    private volatile Instant now = Instant.parse("2026-11-22T09:00:00Z");

    @BeforeEach
    void start() throws IOException {
        server = new FakeApiServer(folder);
        dns = new FakeDnsServer();
        store = CounterStore.open(folder.resolve("store"));
        dns.put("app-python-headless", "10.0.0.1", "10.0.0.2");
    }

    @AfterEach
    void stop() throws IOException {
        store.close();
        dns.close();
        server.close();
    }

    private AutoSource auto() {
        PeersSettings settings = KubernetesSourceTest.settings(3);
        Replica replica = new Replica("app-python-0", store, "visits", 8080);
        return new AutoSource(
                KubernetesSourceTest.hurried(settings, replica, server.access(), InstantSource.system()),
                new DnsSource(settings, replica, dns.url(), folder.resolve("absent"), () -> now, null));
    }

    private PeersReport.Source source(AutoSource auto) {
        now = now.plusSeconds(6);
        return auto.membership().toCompletableFuture().join().source();
    }

    @Test
    void usesDnsUntilThePermissionIsGrantedThenKubernetes() {
        server.failAll(403);
        try (AutoSource auto = auto()) {
            auto.start();
            TestSettings.await(() -> String.valueOf(source(auto).chosen()).contains("403"));
            assertThat(source(auto).kind()).hasToString("dns");
            assertThat(source(auto).state()).isEqualTo(Freshness.LIVE);
            assertThat(source(auto).chosen())
                    .startsWith("auto: the API server answered 403: endpointslices.discovery.k8s.io is forbidden: ");

            FakeApiServer.recording(UnaryOperator.identity()).stream()
                    .filter(event -> event.version() <= 464)
                    .forEach(server::apply);
            server.failAll(0);
            TestSettings.await(() -> source(auto).kind() == PeersReport.Kind.KUBERNETES);
            assertThat(source(auto).chosen()).isEqualTo("auto: the Kubernetes API gives a list");

            server.failAll(403);
            server.endWatches();
            TestSettings.await(() -> source(auto).state() == Freshness.STALE);
            assertThat(source(auto).kind()).as("the last list is kept").isEqualTo(PeersReport.Kind.KUBERNETES);
        }
    }

    @Test
    void usesDnsWhileTheApiServerIsUnreachable() {
        server.stop();
        try (AutoSource auto = auto()) {
            auto.start();
            TestSettings.await(() -> String.valueOf(source(auto).chosen()).contains("unreachable: "));
            assertThat(source(auto).chosen()).startsWith("auto: ").endsWith(", for now");
            assertThat(source(auto).kind()).hasToString("dns");
            assertThat(auto.membership().toCompletableFuture().join().members()).hasSize(2);
        }
    }

    // In an application

    private ApplicationContext context(Map<String, Object> properties) {
        Map<String, Object> all = new HashMap<>(properties);
        all.put("counter.peers.directory", folder.toString());
        all.put("counter.peers.refresh", "0s");
        ApplicationContext context = ApplicationContext.builder(all).build();
        context.registerSingleton(new Replica("app-python-0", store, "visits", 8080));
        return context.start();
    }

    private PeersReport report(Map<String, Object> properties) {
        try (ApplicationContext context = context(properties)) {
            return context.getBean(Peers.class).report().toCompletableFuture().join();
        }
    }

    @Test
    void addressesTakePrecedence() {
        PeersReport.Source source = report(Map.of(
                        "counter.peers.addresses", "127.0.0.1:1",
                        "counter.peers.service", "app-python-headless",
                        "kubernetes.service.host", "127.0.0.1"))
                .source();
        assertThat(source.kind()).hasToString("static");
        assertThat(source.chosen()).isEqualTo("auto: counter.peers.addresses is set");
        assertThat(report(Map.of("counter.peers.source", "static")).source().chosen())
                .isNull();
    }

    @Test
    void withoutSettingsOnlyThisReplicaIsListed() {
        PeersReport report = report(Map.of("kubernetes.service.host", "127.0.0.1"));
        assertThat(report.source().kind()).hasToString("static");
        assertThat(report.source().chosen())
                .isEqualTo("auto: neither counter.peers.addresses nor counter.peers.service is set");
        assertThat(report.complete()).isTrue();
        assertThat(report.expected()).isEqualTo(1);
    }

    @Test
    void usesDnsOutsideAPodOrWithoutAToken() {
        Map<String, Object> service = Map.of("counter.peers.service", "no-such-service.invalid.");
        PeersReport outside = report(service);
        assertThat(outside.source().kind()).hasToString("dns");
        assertThat(outside.source().chosen()).contains("KUBERNETES_SERVICE_HOST");
        assertThat(outside.complete()).isFalse();

        Map<String, Object> pod = new HashMap<>(service);
        pod.put("kubernetes.service.host", "127.0.0.1");
        pod.put("kubernetes.client.base-path", "http://127.0.0.1:" + server.port());
        pod.put("kubernetes.client.token-path", folder.resolve("no-token").toString());
        PeersReport inside = report(pod);
        assertThat(inside.source().kind()).hasToString("dns");
        assertThat(inside.source().chosen())
                .isEqualTo("auto: there is no service account token (" + folder.resolve("no-token") + ")");
        assertThat(server.requests()).isZero();
    }

    @Test
    void usesKubernetesInAPodWithPermission() throws IOException {
        FakeApiServer.recording(UnaryOperator.identity()).stream()
                .filter(event -> event.version() <= 464)
                .forEach(server::apply);
        Map<String, Object> pod = new HashMap<>();
        pod.put("counter.peers.service", "app-python-headless");
        pod.put("counter.peers.timeout", "50ms");
        pod.put("kubernetes.service.host", "127.0.0.1");
        pod.put("kubernetes.client.base-path", "http://127.0.0.1:" + server.port());
        pod.put("kubernetes.client.token-path", server.token.toString());
        pod.put("kubernetes.client.namespace", "demo");
        try (ApplicationContext context = context(pod)) {
            Peers peers = context.getBean(Peers.class);
            PeerSource source = context.getBean(PeerSource.class);
            TestSettings.await(() -> server.openWatches() == 2);
            TestSettings.await(
                    () -> source.membership().toCompletableFuture().join().isLive());
            Membership membership = source.membership().toCompletableFuture().join();
            assertThat(membership.source().chosen()).isEqualTo("auto: the Kubernetes API gives a list");
            assertThat(membership.expected().names()).hasSize(3);
            assertThat(peers.latest()).isEmpty();
            assertThat(server.complaints()).isEmpty();
        }
        // The server notices when it writes to the closed connection.
        FakeApiServer.Event[] bookmarks = FakeApiServer.recording(UnaryOperator.identity()).stream()
                .filter(event -> event.isBookmark() && event.version() > 1_000)
                .toArray(FakeApiServer.Event[]::new);
        TestSettings.await(() -> {
            Stream.of(bookmarks).forEach(server::apply);
            return server.openWatches() == 0;
        });
        assertThat(server.lists(Kind.SLICES)).isEqualTo(1);
    }

    @Test
    void aSilentApiServerDelaysNothing() throws IOException {
        try (ServerSocket silent = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            PeersReport report = report(Map.of(
                    "counter.peers.service",
                    "no-such-service.invalid.",
                    "kubernetes.service.host",
                    "127.0.0.1",
                    "kubernetes.client.base-path",
                    "http://127.0.0.1:" + silent.getLocalPort(),
                    "kubernetes.client.token-path",
                    server.token.toString()));

            // The reason would be different if anything had waited for an answer or a timeout.
            assertThat(report.source().chosen()).isEqualTo("auto: no answer from the API server yet, for now");
            assertThat(report.peers()).extracting(PeersReport.Peer::instance).containsExactly("app-python-0");
            assertThat(report.complete()).isFalse();
        }
    }

    @Test
    void theLatestReportIsADetailOfHealthAndDoesNotAffectItsStatus() throws IOException {
        try (LoopbackPeer peer = new LoopbackPeer("app-python-1", "127.0.0.2", folder.resolve("1"));
                ApplicationContext context = context(Map.of("counter.peers.addresses", peer.address()))) {
            peer.stop();
            HealthIndicator health = context.getBean(PeersHealth.class);
            assertThat(health(health).getDetails()).isEqualTo(Map.of("report", "none yet"));

            context.getBean(Peers.class).report().toCompletableFuture().join();
            assertThat(health(health).getStatus()).isEqualTo(HealthStatus.UP);
            assertThat(health(health).getDetails())
                    .asInstanceOf(InstanceOfAssertFactories.MAP)
                    .containsEntry("report", "visits: at least 0, 1 of 2 replicas answered")
                    .containsEntry("complete", false)
                    .containsEntry("expected", 2)
                    .containsEntry("answered", 1)
                    .containsEntry("source", "static")
                    .containsEntry("sourceState", "live");
            assertThat(context.getBeansOfType(HealthIndicator.class, Qualifiers.byStereotype(Readiness.class)))
                    .doesNotContain(health);
            assertThat(context.getBeansOfType(HealthIndicator.class, Qualifiers.byStereotype(Liveness.class)))
                    .doesNotContain(health);
        }
    }

    private static HealthResult health(HealthIndicator indicator) {
        return Objects.requireNonNull(Mono.from(indicator.getResult()).block());
    }

    @Test
    void anInvalidSettingFailsTheStartAndIsNamed() {
        assertThatThrownBy(() -> report(Map.of("counter.peers.timeout", "-1s")))
                .rootCause()
                .hasMessage("counter.peers.timeout: '-1s' is invalid; expected 10ms to 30s");
    }

    @Test
    void createsNoBeansWithoutAReplica() {
        try (ApplicationContext context = ApplicationContext.run(Map.of("counter.peers.timeout", "-1s"))) {
            assertThat(context.containsBean(Peers.class)).isFalse();
        }
    }

    @Test
    void pollsPeersWithoutRequestsForReports() throws IOException {
        try (LoopbackPeer peer = new LoopbackPeer("app-python-1", "127.0.0.2", folder.resolve("1"))) {
            peer.add(4);
            Map<String, Object> properties = new HashMap<>();
            properties.put("counter.peers.addresses", peer.address());
            properties.put("counter.peers.directory", folder.toString());
            properties.put("counter.peers.refresh", "1s");
            ApplicationContext context = ApplicationContext.builder(properties).build();
            context.registerSingleton(new Replica("app-python-0", store, "visits", 8080));
            try (context) {
                Peers peers = context.start().getBean(Peers.class);
                // A busy machine may need more than one round.
                TestSettings.await(() ->
                        peers.latest().filter(report -> report.total() == 4).isPresent());
                assertThat(peers.statistics().asked()).isPositive();
                assertThat(peers.statistics().remembered()).isEqualTo(1);
            }
            assertThat(Files.readString(folder.resolve("counters.peers"))).contains("app-python-1");
        }
    }
}
