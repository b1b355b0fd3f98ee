// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import ch.qos.logback.classic.Level;
import ch.qos.logback.classic.Logger;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.read.ListAppender;
import io.counterset.CounterStore;
import io.counterset.k8s.FakeApiServer.Cut;
import io.counterset.k8s.FakeApiServer.Event;
import io.counterset.k8s.FakeApiServer.Kind;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeersReport.Freshness;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.apis.CustomObjectsApi;
import io.kubernetes.client.util.CallGeneratorParams;
import io.kubernetes.client.util.Watchable;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;
import org.awaitility.Awaitility;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.slf4j.LoggerFactory;

/** The list of peers when the API server refuses, fails, sends wrong data, forgets or goes away. */
class KubernetesSourceTest {

    @TempDir
    Path folder;

    private FakeApiServer server;
    private CounterStore store;
    private final List<KubernetesSource> open = new ArrayList<>();
    private final List<Event> recording = FakeApiServer.recording(UnaryOperator.identity());
    private final ListAppender<ILoggingEvent> lines = new ListAppender<>();

    /** The sources' clock. It advances only when a test says so, however slow the machine is. */
    private volatile Instant now = Instant.parse("2026-11-22T09:00:00Z");

    private final Logger logger = (Logger) LoggerFactory.getLogger(KubernetesSource.class);

    @BeforeEach
    void start() throws IOException {
        server = new FakeApiServer(folder);
        store = CounterStore.open(folder.resolve("store"));
        lines.start();
        logger.addAppender(lines);
        logger.setLevel(Level.INFO);
    }

    @AfterEach
    void stop() {
        logger.detachAppender(lines);
        logger.setLevel(null);
        open.forEach(KubernetesSource::close);
        store.close();
        server.close();
    }

    static PeersSettings settings(@Nullable Integer expected) {
        return new PeersSettings(
                PeersSettings.Choice.KUBERNETES,
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

    /**
     * A source that retries often. {@link KubernetesReplayTest} measures the real delays.
     */
    static KubernetesSource hurried(
            PeersSettings settings, Replica replica, KubernetesSource.Access access, InstantSource clock) {
        return new KubernetesSource(settings, replica, access, clock, Duration.ofSeconds(2), Duration.ofMillis(500));
    }

    private KubernetesSource source(String instance) {
        KubernetesSource source =
                hurried(settings(null), new Replica(instance, store, "visits", 8080), server.access(), () -> now);
        open.add(source);
        source.start();
        return source;
    }

    private KubernetesSource source() {
        return source("app-python-0");
    }

    /** Puts the server in the recorded state at a version. */
    private void holdRecordingUntil(long version) {
        recording.stream().filter(event -> event.version() <= version).forEach(server::apply);
    }

    private static Membership now(KubernetesSource source) {
        return source.membership().toCompletableFuture().join();
    }

    private static void awaitLive(KubernetesSource source) {
        TestSettings.await(() -> now(source).isLive());
    }

    /** The addresses and the expected number come from two watches. */
    private static void awaitAll(KubernetesSource source, int replicas) {
        TestSettings.await(() -> now(source).isLive()
                && now(source).members().size() == replicas
                && now(source).expected().names().size() == replicas);
    }

    private static PeersReport.Source stateOf(KubernetesSource source) {
        return now(source).source();
    }

    private static String awaitReason(KubernetesSource source, Freshness state) {
        TestSettings.await(
                () -> stateOf(source).state() == state && stateOf(source).reason() != null);
        String reason = String.valueOf(stateOf(source).reason());
        DocumentedReasons.assertDocumented(reason);
        return reason;
    }

    @Test
    void isUnavailableBeforeTheFirstList() {
        server.failAll(500);
        KubernetesSource source = source();

        assertThat(now(source).isLive()).isFalse();
        assertThat(stateOf(source).state()).isEqualTo(Freshness.UNAVAILABLE);
        assertThat(now(source).members()).isEmpty();
        assertThat(now(source).expected().known()).isFalse();
        assertThat(source.hasList()).isFalse();
        server.failAll(0);
        holdRecordingUntil(464);
        awaitLive(source);
        assertThat(now(source).members()).hasSize(3);
        assertThat(stateOf(source).reason()).isNull();
        assertThat(stateOf(source).ageMillis()).isNull();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "401 | the API server answered 401: Unauthorized | true",
                "403 | the API server answered 403: endpointslices.discovery.k8s.io is forbidden: User | true",
                "429 | the API server answered 429: as the test requests | false",
                "500 | the API server answered 500: as the test requests | false",
                "503 | the API server answered 503: as the test requests | false"
            })
    void quotesTheServersRefusalAndRetries(int status, String reason, boolean refused) {
        holdRecordingUntil(464);
        server.failAll(status);
        KubernetesSource source = source();

        TestSettings.await(() -> String.valueOf(stateOf(source).reason()).startsWith(reason));
        assertThat(source.isRefused()).isEqualTo(refused);
        DocumentedReasons.assertDocumented(String.valueOf(stateOf(source).reason()));
        server.failAll(0);
        awaitLive(source);
    }

    @Test
    void readsARotatedToken() throws IOException {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        server.rotateToken("better");

        assertThat(awaitReason(source, Freshness.STALE)).isEqualTo("the API server answered 401: Unauthorized");
        assertThat(now(source).members()).hasSize(3);
        server.authentication.setExpiry(Instant.MIN); // the client rereads the file once a minute
        awaitLive(source);
    }

    @Test
    void reportsAPermissionMissingForOneOfTheWatches() {
        holdRecordingUntil(464);
        server.fail(Kind.SETS, 403);
        KubernetesSource source = source();

        assertThat(awaitReason(source, Freshness.STALE)).isNotEmpty();
        TestSettings.await(() -> String.valueOf(stateOf(source).reason()).contains("answered 403"));
        assertThat(now(source).members()).hasSize(3);
        assertThat(now(source).expected().known()).isFalse();
        server.fail(Kind.SETS, 0);
        awaitLive(source);
        assertThat(now(source).expected().names()).hasSize(3);
    }

    @Test
    void withoutATokenNoRequestIsMade() throws IOException {
        Files.delete(server.token);
        KubernetesSource source = source();

        assertThat(stateOf(source).state()).isEqualTo(Freshness.UNAVAILABLE);
        assertThat(stateOf(source).reason()).isEqualTo("there is no service account token (" + server.token + ")");
        assertThat(source.isRefused()).isTrue();
        assertThat(server.requests()).isZero();
        assertThat(lines.list).hasSize(1);
    }

    private KubernetesSource source(KubernetesSource.Access.Builder builder) {
        KubernetesSource source = hurried(
                settings(null),
                new Replica("app-python-0", store, "visits", 8080),
                new KubernetesSource.Access(builder, "demo", server.token),
                InstantSource.system());
        open.add(source);
        source.start();
        return source;
    }

    @Test
    void aClientThatCannotBeCreatedIsReported() {
        KubernetesSource source = source(() -> {
            throw new IllegalStateException("no certificate");
        });

        assertThat(stateOf(source).reason()).isEqualTo("cannot create the Kubernetes client: no certificate");
        assertThat(now(source).isLive()).isFalse();
    }

    @Test
    void aMissingClassIsTheReasonWheneverItIsNeeded() {
        String reason =
                "the Kubernetes client does not work with the libraries on the class path: no class org/example/Absent";
        KubernetesSource atTheStart = source(() -> {
            throw new NoClassDefFoundError("org/example/Absent");
        });
        assertThat(stateOf(atTheStart).reason()).isEqualTo(reason);

        KubernetesSource atTheFirstRequest = source(() -> server.access()
                .builder()
                .get()
                .setAuthentication(client -> client.setHttpClient(client.getHttpClient()
                        .newBuilder()
                        .addInterceptor(chain -> {
                            throw new NoClassDefFoundError("org/example/Absent");
                        })
                        .build())));
        TestSettings.await(() -> reason.equals(stateOf(atTheFirstRequest).reason()));
        assertThat(stateOf(atTheFirstRequest).state()).isEqualTo(Freshness.UNAVAILABLE);
    }

    @Test
    void keepsTheLastListAndLogsOneLineWhileTheServerIsGone() throws Exception {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        server.stop();
        TestSettings.await(
                () -> String.valueOf(stateOf(source).reason()).startsWith("the API server is unreachable: "));
        assertThat(stateOf(source).state()).isEqualTo(Freshness.STALE);

        server.failAll(503);
        server.start();
        for (int i = 0; i < 3; i++) { // it keeps retrying, far enough apart for a line each
            int tried = server.requests() + 2;
            now = now.plus(Duration.ofMinutes(20));
            TestSettings.await(() -> server.requests() >= tried);
        }
        assertThat(stateOf(source).state()).isEqualTo(Freshness.STALE);
        assertThat(stateOf(source).ageMillis()).isEqualTo(Duration.ofHours(1).toMillis());
        assertThat(now(source).members()).hasSize(3);
        assertThat(now(source).expected().names()).hasSize(3);
        assertThat(lines.list).as("one line for all retries").hasSize(1);
        assertThat(lines.list.get(0).getFormattedMessage())
                .startsWith("peers by kubernetes: the API server is unreachable")
                .endsWith("; the last list stays until the API server answers");

        holdRecordingUntil(538);
        server.failAll(0);
        awaitAll(source, 5);
        TestSettings.await(() -> lines.list.size() == 2);
        assertThat(lines.list.get(1).getFormattedMessage())
                .isEqualTo("peers by kubernetes: the API server answers again");
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void listsAgainIfTheVersionIsTooOld(boolean byEvent) {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        recording.stream()
                .filter(event -> event.version() > 464 && event.version() <= 538)
                .forEach(event -> {
                    if (event.version() == 467) {
                        server.endWatches();
                    }
                    server.apply(event);
                });
        server.compact(byEvent);

        awaitAll(source, 5);
        assertThat(server.complaints()).isEmpty();
    }

    @Test
    void acceptsAServerRestoredToAnOlderState() {
        holdRecordingUntil(538);
        KubernetesSource source = source();
        awaitAll(source, 5);
        server.restore(
                recording.stream().filter(event -> event.version() <= 464).toList());

        awaitAll(source, 3);
    }

    @Test
    void aWatchThatEndsNormallyIsRenewedAndNotStale() {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        TestSettings.await(() -> server.openWatches() == 2);
        int lists = server.lists(Kind.SLICES);
        server.endWatches();
        TestSettings.await(() -> {
            assertThat(now(source).isLive()).isTrue();
            return server.watches(Kind.SLICES) == 2 && server.watches(Kind.SETS) == 2;
        });
        assertThat(server.lists(Kind.SLICES)).isEqualTo(lists);
        assertThat(lines.list).isEmpty();
    }

    @Test
    void aSilentWatchIsNotStale() {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        TestSettings.await(() -> server.openWatches() == 2);
        int requests = server.requests();
        now = now.plusSeconds(3); // longer than the grace period of a watch that is being renewed
        TestSettings.await(() -> now(source).isLive()); // the client has noticed that both are open
        now = now.plus(Duration.ofMinutes(9));
        assertThat(now(source).isLive()).isTrue();

        holdRecordingUntil(538);
        TestSettings.await(() -> now(source).members().size() == 5);
        assertThat(server.requests()).as("it is still the same watch").isEqualTo(requests);
        assertThat(lines.list).isEmpty();
    }

    @Test
    void theNextWatchStartsAtTheLastBookmark() {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        TestSettings.await(() -> server.openWatches() == 2);
        for (Kind kind : Kind.values()) {
            server.apply(
                    Event.of(kind, "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"465\"}}}"));
        }
        TestSettings.await(() -> server.sent(Kind.SLICES) == 465 && server.sent(Kind.SETS) == 465);
        server.compact(false); // a watch from an earlier version would be answered 410 from now on
        server.endWatches();
        TestSettings.await(() -> server.watches(Kind.SLICES) == 2 && server.watches(Kind.SETS) == 2);
        TestSettings.await(() -> server.openWatches() == 2);
        assertThat(server.lists(Kind.SLICES)).isEqualTo(1);
        assertThat(server.lists(Kind.SETS)).isEqualTo(1);
        assertThat(now(source).isLive()).isTrue();
    }

    @Test
    void aWatchThatNeverOpensIsStale() {
        holdRecordingUntil(464);
        server.holdWatches(true);
        KubernetesSource source = source();

        TestSettings.await(() -> server.openWatches() == 2 && source.hasList());
        now = now.plusSeconds(3); // longer than the grace period of a watch that is being renewed
        TestSettings.await(() -> "the watch is not open".equals(stateOf(source).reason()));
        assertThat(stateOf(source).state()).isEqualTo(Freshness.STALE);
        assertThat(now(source).members()).hasSize(3);
        server.holdWatches(false);
        awaitLive(source);
    }

    @Test
    void honoursRetryAfter() {
        holdRecordingUntil(464);
        server.failAll(429);
        server.retryAfter("3");
        KubernetesSource source = source();
        TestSettings.await(() -> server.requests() == 2);
        server.failAll(0);
        awaitLive(source);
        for (Kind kind : Kind.values()) {
            List<Instant> requests = server.requests(kind);
            assertThat(Duration.between(requests.get(0), requests.get(1))).isGreaterThan(Duration.ofMillis(2_990));
        }
    }

    /** Otherwise a server that is back would go unnoticed for two pauses. */
    @Test
    void theWatchFollowsTheFirstListWithoutAPause() {
        holdRecordingUntil(464);
        server.fail(Kind.SETS, 503);
        KubernetesSource source = new KubernetesSource(
                settings(null),
                new Replica("app-python-0", store, "visits", 8080),
                server.access(),
                () -> now,
                Duration.ofSeconds(2),
                Duration.ofSeconds(5));
        open.add(source);
        source.start();
        TestSettings.await(() -> server.requests(Kind.SETS).size() == 5); // the next pause is 2 to 4 s long
        server.failAll(0);
        awaitLive(source);
        List<Instant> requests = server.requests(Kind.SETS);
        assertThat(server.lists(Kind.SETS)).as("successful lists").isEqualTo(1);
        assertThat(Duration.between(requests.get(5), requests.get(6))).isLessThan(Duration.ofMillis(1_900));
    }

    @Test
    void closeInterruptsThePauseBetweenRetries() {
        server.failAll(429);
        server.retryAfter("60");
        KubernetesSource source = source();
        TestSettings.await(() -> server.requests() == 2);
        assertThat(informerThreads()).isNotEmpty();
        source.close();
        Awaitility.await()
                .atMost(Duration.ofSeconds(30))
                .until(() -> informerThreads().isEmpty());
    }

    private static List<String> informerThreads() {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(name -> name.startsWith("controller-re") || name.startsWith("informer-"))
                .toList();
    }

    @Test
    void reportsATokenThatBecameUnreadable() throws IOException {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        String token = Files.readString(server.token);
        TestSettings.await(() -> server.openWatches() == 2);
        Files.delete(server.token);
        server.authentication.setExpiry(Instant.MIN);
        server.endWatches();

        assertThat(awaitReason(source, Freshness.STALE))
                .isEqualTo("cannot ask the API server: Cannot read file: " + server.token);
        assertThat(now(source).members()).hasSize(3);
        Files.writeString(server.token, token);
        awaitLive(source);
    }

    @ParameterizedTest
    @EnumSource(Cut.class)
    void aWatchCutAtAnyByteDeliversOnlyWholeEvents(Cut how) throws Exception {
        List<Event> slices = recording.stream()
                .filter(event -> event.kind() == Kind.SLICES && !event.isBookmark())
                .limit(3)
                .toList();
        server.apply(slices.get(0));
        try (ListWatch<ApiObjects.EndpointSlice, ApiObjects.EndpointSlices> watched = watchedSlices()) {
            server.apply(slices.get(1));
            int length = (slices.get(1).line() + "\n").getBytes(StandardCharsets.UTF_8).length;
            for (int bytes = 0; bytes <= length; bytes++) {
                server.cutNext(Kind.SLICES, how, bytes);
                List<String> versions = new ArrayList<>();
                try (Watchable<ApiObjects.EndpointSlice> watch =
                        watched.watch(new CallGeneratorParams(true, "353", 300))) {
                    assertThat(watched.isConnected()).isTrue();
                    while (watch.hasNext()) {
                        versions.add(watch.next().object.version());
                    }
                } catch (RuntimeException e) {
                    assertThat(watched.failure()).isNotNull();
                }
                assertThat(versions).as("after %d of %d bytes", bytes, length).isIn(List.of(), List.of("426"));
                assertThat(versions.isEmpty()).isEqualTo(bytes < length - 1);
                assertThat(watched.isConnected()).isFalse();
            }
        }
    }

    private ListWatch<ApiObjects.EndpointSlice, ApiObjects.EndpointSlices> watchedSlices() throws IOException {
        ApiClient client = server.access().builder().get().build();
        return new ListWatch<>(
                ApiObjects.EndpointSlice.class,
                ApiObjects.EndpointSlices.class,
                client,
                () -> new CustomObjectsApi(client)
                        .listNamespacedCustomObject("discovery.k8s.io", "v1", "demo", "endpointslices")
                        .labelSelector(Kind.SLICES.selected),
                slice -> {},
                () -> {},
                InstantSource.system(),
                Duration.ZERO);
    }

    // Shapes of slices

    private static Event slice(long version, String name, String ports, String... endpoints) {
        return Event.of(
                Kind.SLICES,
                "{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"EndpointSlice\",\"apiVersion\":\"discovery.k8s.io/v1\","
                        + "\"metadata\":{\"name\":\"" + name + "\",\"namespace\":\"demo\",\"resourceVersion\":\""
                        + version
                        + "\"},\"endpoints\":[" + String.join(",", endpoints) + "],\"ports\":" + ports + "}}");
    }

    private static String endpoint(String hostname, String address, @Nullable Boolean serving, boolean terminating) {
        return "{\"addresses\":[\"" + address + "\"],\"conditions\":{\"ready\":true,\"serving\":" + serving
                + ",\"terminating\":" + terminating + "},\"hostname\":\"" + hostname + "\"}";
    }

    private static Event statefulSet(long version, String spec) {
        return Event.of(
                Kind.SETS,
                "{\"type\":\"ADDED\",\"object\":{\"kind\":\"StatefulSet\",\"apiVersion\":\"apps/v1\",\"metadata\":"
                        + "{\"name\":\"app-python\",\"namespace\":\"demo\",\"resourceVersion\":\"" + version
                        + "\"},\"spec\":" + spec + "}}");
    }

    private static final String HTTP = "[{\"name\":\"metrics\",\"port\":9090},{\"name\":\"http\",\"port\":8080}]";

    @Test
    void mergesSlicesOfBothFamiliesThatDisagree() {
        server.apply(statefulSet(1, "{\"replicas\":4}"));
        server.apply(slice(
                2,
                "v4-a",
                HTTP,
                endpoint("app-python-2", "10.0.0.2", null, false),
                endpoint("app-python-1", "10.0.0.9", true, true),
                endpoint("app-python-3", "10.0.0.3", false, false)));
        server.apply(slice(
                3,
                "v4-b",
                HTTP,
                endpoint("app-python-1", "10.0.0.1", true, false),
                endpoint("app-python-3", "10.0.0.33", false, false)));
        server.apply(slice(4, "v6", "null", endpoint("app-python-2", "fd00::2", true, false)));
        server.apply(slice(5, "v6-only", "[]", endpoint("app-python-0", "fd00::1", true, false)));
        server.apply(slice(
                6,
                "others",
                HTTP,
                endpoint("other-0", "10.0.0.7", true, false),
                endpoint("app-python", "10.0.0.8", true, false),
                "{\"addresses\":[\"10.0.0.10\"],\"conditions\":{}}",
                "{\"addresses\":[\"10.0.0.11\"],\"conditions\":null,"
                        + "\"targetRef\":{\"kind\":\"Pod\",\"name\":\"app-python-4\"}}",
                "{\"addresses\":[],\"hostname\":\"app-python-5\"}"));
        KubernetesSource source = source();
        awaitLive(source);

        assertThat(now(source).members())
                .containsExactly(
                        new Member("app-python-0", "[fd00::1]:8080", Phase.SERVING),
                        new Member("app-python-1", "10.0.0.1:8080", Phase.SERVING),
                        new Member("app-python-2", "10.0.0.2:8080", Phase.SERVING),
                        new Member("app-python-3", "10.0.0.33:8080", Phase.STARTING),
                        new Member("app-python-4", "10.0.0.11:8080", Phase.SERVING));
    }

    @Test
    void anEndpointThatMovesToAnotherSliceStaysListed() {
        server.apply(statefulSet(1, "{\"replicas\":2}"));
        String still = endpoint("app-python-0", "10.0.0.1", true, false);
        String moving = endpoint("app-python-1", "10.0.0.2", true, false);
        server.apply(slice(2, "a", HTTP, still, moving));
        server.apply(slice(3, "b", HTTP));
        KubernetesSource source = source();
        awaitLive(source);
        List<Member> members = now(source).members();
        assertThat(members).hasSize(2);

        server.apply(slice(4, "b", HTTP, moving));
        TestSettings.await(() -> source.versions().contains("4"));
        assertThat(now(source).members()).as("in both slices").isEqualTo(members);
        server.apply(slice(5, "a", HTTP, still));
        TestSettings.await(() -> source.versions().contains("5"));
        assertThat(now(source).members()).as("in the other slice").isEqualTo(members);
        server.apply(slice(6, "a", "null"));
        server.apply(slice(7, "b", HTTP, moving, still));
        TestSettings.await(() -> source.versions().containsAll(Set.of("6", "7")));
        assertThat(now(source).members()).as("in both slices, in another order").isEqualTo(members);
    }

    @Test
    void moreReplicasThanSupportedAreNeverComplete() {
        server.apply(statefulSet(1, "{\"replicas\":5001}"));
        KubernetesSource source = source();
        awaitLive(source);

        assertThat(now(source).expected().known()).isFalse();
        assertThat(now(source).expected().atLeast()).isEqualTo(5_001);
        assertThat(stateOf(source).reason()).isEqualTo("the StatefulSet has 5001 replicas; at most 5000 are supported");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "{\"replicas\":2} | app-python-0, app-python-1",
                "{\"replicas\":2,\"ordinals\":{\"start\":5}} | app-python-5, app-python-6",
                "{\"replicas\":2,\"ordinals\":null} | app-python-0, app-python-1",
                "{} | app-python-0",
                "{\"replicas\":0} | ''"
            })
    void theStatefulSetDeterminesTheExpectedNames(String spec, String names) {
        server.apply(statefulSet(1, spec));
        KubernetesSource source = source();
        awaitLive(source);

        assertThat(now(source).expected().names()).isEqualTo(names.isEmpty() ? Set.of() : Set.of(names.split(", ")));
        assertThat(now(source).expected().exact()).isTrue();
        assertThat(now(source).expected().known()).isTrue();
    }

    @Test
    void withoutAStatefulSetTheExpectedNumberIsUnknown() {
        holdRecordingUntil(353);
        KubernetesSource source = source();
        awaitLive(source);
        assertThat(now(source).expected().known()).isFalse();
        assertThat(stateOf(source).reason()).isEqualTo("there is no StatefulSet app-python");

        KubernetesSource unnamed = source("a-name-without-ordinal");
        awaitLive(unnamed);
        assertThat(now(unnamed).expected().known()).isFalse();
        assertThat(stateOf(unnamed).reason()).contains("has no ordinal");
    }

    @Test
    void aPodThatHasServedIsNotStarting() {
        server.apply(statefulSet(1, "{\"replicas\":2}"));
        server.apply(slice(2, "a", HTTP, endpoint("app-python-1", "10.0.0.1", false, false)));
        KubernetesSource source = source();
        awaitLive(source);
        assertThat(now(source).members()).extracting(Member::phase).containsExactly(Phase.STARTING);

        server.apply(slice(3, "a", HTTP, endpoint("app-python-1", "10.0.0.1", true, false)));
        server.apply(slice(4, "a", HTTP, endpoint("app-python-1", "10.0.0.1", false, false)));
        TestSettings.await(() -> source.versions().contains("4"));
        assertThat(now(source).members()).extracting(Member::phase).containsExactly(Phase.SERVING);

        server.apply(slice(5, "a", HTTP, endpoint("app-python-1", "10.0.0.2", false, false)));
        TestSettings.await(() -> source.versions().contains("5"));
        assertThat(now(source).members()).extracting(Member::phase).containsExactly(Phase.STARTING);
    }

    @Test
    void deletedObjectsAreRemoved() {
        holdRecordingUntil(464);
        KubernetesSource source = source();
        awaitLive(source);
        Event slice = recording.stream()
                .filter(event -> event.version() == 463)
                .findFirst()
                .orElseThrow();
        server.apply(Event.of(
                Kind.SLICES, slice.line().replace("MODIFIED", "DELETED").replace("\"463\"", "\"465\"")));

        TestSettings.await(() -> now(source).members().isEmpty());
        assertThat(now(source).isLive()).isTrue();
        assertThat(now(source).expected().names()).as("all of them are missing").hasSize(3);
    }
}
