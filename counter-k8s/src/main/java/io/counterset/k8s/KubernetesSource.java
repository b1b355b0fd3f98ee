// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.ApiObjects.Conditions;
import io.counterset.k8s.ApiObjects.Endpoint;
import io.counterset.k8s.ApiObjects.EndpointSlice;
import io.counterset.k8s.ApiObjects.EndpointSlices;
import io.counterset.k8s.ApiObjects.Port;
import io.counterset.k8s.ApiObjects.Spec;
import io.counterset.k8s.ApiObjects.StatefulSet;
import io.counterset.k8s.ApiObjects.StatefulSets;
import io.counterset.k8s.ApiObjects.Target;
import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeersReport.Freshness;
import io.kubernetes.client.openapi.ApiClient;
import io.kubernetes.client.openapi.apis.CustomObjectsApi;
import io.kubernetes.client.util.ClientBuilder;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import okhttp3.OkHttpClient;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Finds peers through two watches on the Kubernetes API: the EndpointSlices of the headless service
 * list the replicas' addresses, and the StatefulSet gives their expected number. A report makes no
 * request to the API server.
 *
 * <p>It needs permission to list and watch {@code endpointslices} of {@code discovery.k8s.io} and
 * the one StatefulSet. Without a service account token it makes no request at all: the client would
 * fall back to a default server address, and reach this replica.
 */
final class KubernetesSource implements PeerSource {

    /**
     * Detects a connection whose other end is gone. Nothing else would: a watch may be silent for
     * minutes.
     */
    private static final Duration PING = Duration.ofSeconds(2);

    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(2);

    /** A list is answered quickly, whereas the server ends a watch only after up to 10 minutes. */
    private static final Duration LIST_TIMEOUT = Duration.ofSeconds(15);

    private static final Duration WATCH_TIMEOUT = Duration.ofMinutes(11);
    private static final Duration BETWEEN_LINES = Duration.ofSeconds(30);
    private static final Logger LOG = LoggerFactory.getLogger(KubernetesSource.class);

    private final PeersSettings settings;
    private final Replica replica;
    private final Access access;
    private final InstantSource clock;
    private final Duration ping;
    private final Duration longestPause;
    private final Instant startedAt;

    /**
     * The pods and addresses seen serving: a pod that has served at an address is no longer
     * starting there.
     */
    private final Set<String> served = ConcurrentHashMap.newKeySet();

    private volatile @Nullable OkHttpClient http;
    private volatile @Nullable ListWatch<EndpointSlice, EndpointSlices> slices;
    private volatile @Nullable ListWatch<StatefulSet, StatefulSets> statefulSets;
    private volatile @Nullable String cannotStart;

    private volatile Runnable listener = () -> {};
    private boolean lost;
    private Instant lineAt = Instant.MIN;

    /**
     * How a pod reaches the API server: with the token of its service account.
     *
     * @param builder creates a client builder; not called before a token is found
     * @param namespace the namespace of the service and the StatefulSet
     * @param token the service account's token
     */
    record Access(Builder builder, String namespace, Path token) {

        /** Creates a client builder. */
        interface Builder {
            ClientBuilder get() throws IOException;
        }

        /** Returns why the API server cannot be reached at all, or null if it may be reachable. */
        @Nullable
        String missing() {
            return Files.isReadable(token) ? null : "there is no service account token (" + token + ")";
        }
    }

    KubernetesSource(PeersSettings settings, Replica replica, Access access, InstantSource clock) {
        this(settings, replica, access, clock, PING, ListWatch.LONGEST_PAUSE);
    }

    /** For tests, which need a shorter ping interval and shorter pauses. */
    KubernetesSource(
            PeersSettings settings,
            Replica replica,
            Access access,
            InstantSource clock,
            Duration ping,
            Duration longestPause) {
        this.settings = settings;
        this.replica = replica;
        this.access = access;
        this.clock = clock;
        this.ping = ping;
        this.longestPause = longestPause;
        this.startedAt = clock.instant();
    }

    @Override
    public void onChange(Runnable whatToDo) {
        listener = whatToDo;
    }

    @Override
    public void start() {
        try {
            cannotStart = access.missing();
            if (cannotStart == null) {
                watch();
            }
        } catch (LinkageError e) {
            cannotStart = ListWatch.unusable(e);
        } catch (RuntimeException | IOException e) {
            cannotStart =
                    "cannot create the Kubernetes client: " + PeerClient.printable(String.valueOf(e.getMessage()));
        }
        if (cannotStart != null) {
            LOG.warn("peers by kubernetes: {}; the API server is not contacted", cannotStart);
        }
    }

    private void watch() throws IOException {
        // A separate client: the shared one logs every request, and its ping interval belongs to
        // the application.
        ApiClient client = access.builder().get().setPingInterval(ping).build();
        OkHttpClient patient = client.getHttpClient()
                .newBuilder()
                .connectTimeout(CONNECT_TIMEOUT)
                .addInterceptor(chain -> {
                    boolean watch = "true".equals(chain.request().url().queryParameter("watch"));
                    Duration timeout = watch ? WATCH_TIMEOUT : LIST_TIMEOUT;
                    return chain.withReadTimeout((int) timeout.toMillis(), TimeUnit.MILLISECONDS)
                            .proceed(chain.request());
                })
                .build();
        client.setHttpClient(patient);
        http = patient;
        String service = Objects.requireNonNull(settings.service(), "service");
        CustomObjectsApi api = new CustomObjectsApi(client);
        slices = new ListWatch<>(
                EndpointSlice.class,
                EndpointSlices.class,
                client,
                () -> api.listNamespacedCustomObject("discovery.k8s.io", "v1", access.namespace(), "endpointslices")
                        .labelSelector("kubernetes.io/service-name=" + service),
                this::noteServing,
                this::changed,
                clock,
                longestPause);
        String statefulSet = statefulSet();
        if (statefulSet != null) {
            statefulSets = new ListWatch<>(
                    StatefulSet.class,
                    StatefulSets.class,
                    client,
                    () -> api.listNamespacedCustomObject("apps", "v1", access.namespace(), "statefulsets")
                            .fieldSelector("metadata.name=" + statefulSet),
                    set -> {},
                    this::changed,
                    clock,
                    longestPause);
            statefulSets.start();
        }
        slices.start();
    }

    private @Nullable String statefulSet() {
        return settings.statefulSet() != null ? settings.statefulSet() : Reconciliation.base(replica.instance());
    }

    @Override
    public void close() {
        if (slices != null) {
            slices.close();
        }
        if (statefulSets != null) {
            statefulSets.close();
        }
        if (http != null) {
            http.connectionPool().evictAll();
            http.dispatcher().executorService().shutdown();
        }
    }

    /** Returns whether the API server has ever delivered a list of peers. */
    boolean hasList() {
        return slices != null && slices.hasSynced();
    }

    /**
     * Returns whether no list of peers can be expected because credentials are missing or rejected.
     */
    boolean isRefused() {
        return cannotStart != null || (slices != null && slices.isRefused());
    }

    @Override
    public CompletionStage<Membership> membership() {
        return CompletableFuture.completedStage(current());
    }

    private Membership current() {
        ListWatch<EndpointSlice, EndpointSlices> endpoints = slices;
        ListWatch<StatefulSet, StatefulSets> sets = statefulSets;
        if (endpoints == null || !endpoints.hasSynced()) {
            String reason = cannotStart != null
                    ? cannotStart
                    : endpoints == null || endpoints.failure() == null
                            ? "no answer from the API server yet"
                            : endpoints.failure();
            return new Membership(
                    source(Freshness.UNAVAILABLE, reason, startedAt),
                    Expected.number(settings.expected(), Reconciliation.base(replica.instance())),
                    List.of());
        }
        Instant now = clock.instant();
        Instant staleSince = endpoints.staleSince(now);
        String reason = staleSince == null ? null : endpoints.failure();
        Expected expected = Expected.unknown(settings.expected(), Reconciliation.base(replica.instance()));
        if (sets == null) {
            reason = reason != null
                    ? reason
                    : "the name " + replica.instance() + " has no ordinal, and counter.peers.stateful-set is not set: "
                            + "the expected number of replicas is unknown";
        } else if (!sets.hasSynced()) {
            staleSince = startedAt;
            reason = sets.failure() != null ? sets.failure() : "no answer about the StatefulSet yet";
        } else {
            Instant setsStaleSince = sets.staleSince(now);
            if (setsStaleSince != null && (staleSince == null || setsStaleSince.isBefore(staleSince))) {
                staleSince = setsStaleSince;
                reason = sets.failure();
            }
            List<StatefulSet> found = sets.objects();
            if (found.isEmpty()) {
                reason = reason != null ? reason : "there is no StatefulSet " + statefulSet();
            } else {
                expected = expected(found.get(0));
                if (reason == null && !expected.known()) {
                    reason = "the StatefulSet has " + expected.atLeast() + " replicas; at most "
                            + PeersSettings.MOST_PEERS + " are supported";
                }
            }
        }
        if (staleSince != null && reason == null) {
            reason = "the watch is not open";
        }
        return new Membership(
                source(staleSince == null ? Freshness.LIVE : Freshness.STALE, reason, staleSince),
                expected,
                members(endpoints.objects()));
    }

    /** Returns the resource versions of the objects behind the membership; tests wait for them. */
    Set<String> versions() {
        Set<String> versions = new HashSet<>();
        if (slices != null) {
            slices.objects().forEach(slice -> versions.add(slice.version()));
        }
        if (statefulSets != null) {
            statefulSets.objects().forEach(set -> versions.add(set.version()));
        }
        return versions;
    }

    private PeersReport.Source source(Freshness state, @Nullable String reason, @Nullable Instant since) {
        Long age = since == null
                ? null
                : Math.max(0, Duration.between(since, clock.instant()).toMillis());
        return new PeersReport.Source(PeersReport.Kind.KUBERNETES, state, reason, age, null);
    }

    private static Expected expected(StatefulSet set) {
        Spec spec = set.spec;
        int replicas = spec == null || spec.replicas == null ? 1 : spec.replicas;
        int start = spec == null || spec.ordinals == null || spec.ordinals.start == null ? 0 : spec.ordinals.start;
        String uid = set.getMetadata().getUid();
        Long generation = set.getMetadata().getGeneration();
        ApiObjects.ClaimRetention claims = spec == null ? null : spec.persistentVolumeClaimRetentionPolicy;
        return Expected.statefulSet(
                Objects.requireNonNull(set.getMetadata().getName()),
                start,
                replicas,
                uid == null || generation == null ? null : new Membership.Revision(uid, generation),
                claims != null && "Delete".equals(claims.whenScaled));
    }

    // Endpoints

    /** One address of one pod, as one slice has it. */
    private record Entry(Member member, boolean serving, boolean ipv4, BigInteger version) {

        /**
         * Slices may disagree for a moment, and a pod may have IPv4 and IPv6 addresses. The best
         * entry sorts last.
         */
        static final Comparator<Entry> BETTER = Comparator.comparing(
                        (Entry entry) -> entry.member().phase() != Phase.TERMINATING)
                .thenComparing(Entry::serving)
                .thenComparing(Entry::ipv4)
                .thenComparing(Entry::version);
    }

    private List<Member> members(List<EndpointSlice> found) {
        Map<String, Entry> entries = new TreeMap<>();
        Set<String> listed = new HashSet<>();
        for (EndpointSlice slice : found) {
            for (Endpoint endpoint : endpoints(slice)) {
                String pod = pod(endpoint);
                if (pod == null) {
                    continue;
                }
                for (String ip : addresses(endpoint)) {
                    listed.add(place(pod, ip));
                    Conditions conditions = endpoint.conditions;
                    boolean serving = isServing(endpoint);
                    if (serving) {
                        served.add(place(pod, ip)); // needed if it was noted before it was listed, and so dropped below
                    }
                    boolean terminating = conditions != null && Boolean.TRUE.equals(conditions.terminating);
                    Phase phase = terminating
                            ? Phase.TERMINATING
                            : serving || served.contains(place(pod, ip)) ? Phase.SERVING : Phase.STARTING;
                    Entry entry = new Entry(
                            new Member(pod, address(ip, port(slice)), phase),
                            serving,
                            !ip.contains(":"),
                            version(slice));
                    entries.merge(pod, entry, (a, b) -> Entry.BETTER.compare(a, b) >= 0 ? a : b);
                }
            }
        }
        served.retainAll(listed);
        List<Member> members = new ArrayList<>();
        entries.values().forEach(entry -> members.add(entry.member()));
        return members;
    }

    private void noteServing(EndpointSlice slice) {
        for (Endpoint endpoint : endpoints(slice)) {
            String pod = pod(endpoint);
            if (pod != null && isServing(endpoint)) {
                addresses(endpoint).forEach(ip -> served.add(place(pod, ip)));
            }
        }
        listener.run();
    }

    private static String place(String pod, String ip) {
        return pod + " " + ip;
    }

    private static List<Endpoint> endpoints(EndpointSlice slice) {
        return slice.endpoints == null ? List.of() : slice.endpoints;
    }

    private static List<String> addresses(Endpoint endpoint) {
        // All addresses of one endpoint are interchangeable; Kubernetes itself uses the first only.
        List<String> addresses = endpoint.addresses;
        return addresses == null || addresses.isEmpty() ? List.of() : addresses.subList(0, 1);
    }

    /**
     * Returns the name of the replica at the endpoint, or null if it is not a replica of this
     * StatefulSet.
     */
    private @Nullable String pod(Endpoint endpoint) {
        Target target = endpoint.targetRef;
        String pod = endpoint.hostname != null
                ? endpoint.hostname
                : target != null && "Pod".equals(target.kind) ? target.name : null;
        String set = statefulSet();
        return pod == null || (set != null && !set.equals(Reconciliation.base(pod))) ? null : pod;
    }

    private static boolean isServing(Endpoint endpoint) {
        Conditions conditions = endpoint.conditions;
        return conditions == null || !Boolean.FALSE.equals(conditions.serving);
    }

    private int port(EndpointSlice slice) {
        int port = 0;
        if (slice.ports != null) {
            for (Port candidate : slice.ports) {
                if (candidate.port != null && (port == 0 || "http".equals(candidate.name))) {
                    port = candidate.port;
                }
            }
        }
        return port == 0 ? replica.port() : port;
    }

    private static String address(String ip, int port) {
        return (ip.contains(":") ? "[" + ip + "]" : ip) + ":" + port;
    }

    private static BigInteger version(EndpointSlice slice) {
        String version = slice.version();
        return version.matches("[0-9]{1,40}") ? new BigInteger(version) : BigInteger.ZERO;
    }

    // One line in the log per outage, not one per retry

    private synchronized void changed() {
        String failure = null;
        boolean live = true;
        for (ListWatch<?, ?> watched : new ListWatch<?, ?>[] {slices, statefulSets}) {
            if (watched != null) {
                live &= watched.isConnected();
                failure = failure != null ? failure : watched.failure();
            }
        }
        Instant now = clock.instant();
        if (!lost && failure != null && lineAt.plus(BETWEEN_LINES).isBefore(now)) {
            lost = true;
            lineAt = now;
            LOG.warn(
                    "peers by kubernetes: {}; {} until the API server answers",
                    failure,
                    hasList() ? "the last list stays" : "there is no list");
        } else if (lost && live) {
            lost = false;
            LOG.info("peers by kubernetes: the API server answers again");
        }
    }
}
