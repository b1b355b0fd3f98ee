// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import io.counterset.k8s.Membership.Expected;
import io.counterset.k8s.Membership.Member;
import io.counterset.k8s.Membership.Phase;
import io.counterset.k8s.PeersReport.Freshness;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Hashtable;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import javax.naming.NameNotFoundException;
import javax.naming.NamingEnumeration;
import javax.naming.NamingException;
import javax.naming.directory.Attribute;
import javax.naming.directory.Attributes;
import javax.naming.directory.DirContext;
import javax.naming.directory.InitialDirContext;
import org.jspecify.annotations.Nullable;

/**
 * Finds peers by the addresses that DNS returns for the headless service. It needs no permissions.
 * DNS returns no names, so a peer is identified by the name in its own answer, which must belong to
 * the same StatefulSet.
 *
 * <p>The JDK's DNS client queries the servers directly: {@link java.net.InetAddress} caches results
 * for 30 s and cannot distinguish "no such name" from "no answer". A lookup is made when a report
 * is requested and the last answer is older than 5 s, the time for which the cluster's DNS servers
 * cache it.
 */
final class DnsSource implements PeerSource {

    private static final Duration MOST_AGE = Duration.ofSeconds(5);
    private static final Duration RETRY = Duration.ofSeconds(1);
    private static final Duration LOOKUP_TIMEOUT = Duration.ofMillis(1_500);

    private final PeersSettings settings;
    private final Replica replica;
    private final String servers;
    private final List<String> candidates;
    private final InstantSource clock;
    private final @Nullable String chosen;
    private final Instant startedAt;
    private final ThreadPoolExecutor thread;

    private List<Member> members = List.of();
    private boolean found;
    private @Nullable Instant foundAt;
    private @Nullable Instant triedAt;
    private @Nullable Instant failingSince;
    private @Nullable String failure;
    private volatile @Nullable String name;
    private @Nullable CompletableFuture<Void> lookup;

    /**
     * @param servers the servers to query, as a URL: {@code dns:} for the system's servers
     * @param resolvConf the file that lists the search domains
     * @param chosen why this source was chosen; null if the settings name it
     */
    DnsSource(
            PeersSettings settings,
            Replica replica,
            String servers,
            Path resolvConf,
            InstantSource clock,
            @Nullable String chosen) {
        this.settings = settings;
        this.replica = replica;
        this.servers = servers;
        this.candidates = candidates(Objects.requireNonNull(settings.service(), "service"), resolvConf);
        this.clock = clock;
        this.chosen = chosen;
        this.startedAt = clock.instant();
        this.thread = new ThreadPoolExecutor(1, 1, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), task -> {
            Thread made = new Thread(task, "counterset-peers-dns");
            made.setDaemon(true);
            return made;
        });
        thread.allowCoreThreadTimeOut(true);
    }

    /**
     * Completes a relative name with the system's search domains, as every other program in the pod
     * does.
     */
    static List<String> candidates(String service, Path resolvConf) {
        if (service.endsWith(".")) {
            return List.of(service.substring(0, service.length() - 1));
        }
        List<String> domains = new ArrayList<>();
        try {
            for (String line : Files.readAllLines(resolvConf)) {
                String[] words = line.strip().split("\\s+");
                if (words[0].equals("search") || words[0].equals("domain")) {
                    domains.clear(); // the last line wins
                    domains.addAll(List.of(words).subList(1, words.length));
                }
            }
        } catch (IOException | RuntimeException e) {
            domains.clear(); // the name may already be complete
        }
        List<String> candidates = new ArrayList<>();
        domains.forEach(domain -> candidates.add(service + "." + domain.replaceFirst("\\.$", "")));
        candidates.add(service);
        return List.copyOf(candidates);
    }

    @Override
    public void start() {}

    @Override
    public void close() {
        thread.shutdownNow();
    }

    @Override
    public CompletionStage<Membership> membership() {
        CompletableFuture<Void> running;
        synchronized (this) {
            Instant now = clock.instant();
            boolean fresh = foundAt != null && isWithin(foundAt, MOST_AGE, now);
            boolean tooSoon = failure != null && triedAt != null && isWithin(triedAt, RETRY, now);
            if (fresh || tooSoon) {
                return CompletableFuture.completedStage(current());
            }
            if (lookup == null) {
                triedAt = now;
                lookup = look();
            }
            running = lookup;
        }
        return running.copy()
                .completeOnTimeout(null, LOOKUP_TIMEOUT.toMillis(), TimeUnit.MILLISECONDS)
                .handle((nothing, failed) -> current());
    }

    private static boolean isWithin(Instant then, Duration age, Instant now) {
        Duration passed = Duration.between(then, now);
        return !passed.isNegative() && passed.compareTo(age) < 0;
    }

    private CompletableFuture<Void> look() {
        try {
            return CompletableFuture.runAsync(
                    () -> {
                        try {
                            found(lookUp());
                        } catch (NamingException e) {
                            failed(describe(e));
                        }
                    },
                    thread);
        } catch (RejectedExecutionException e) {
            return CompletableFuture.completedFuture(null); // closed
        }
    }

    private synchronized void found(Set<String> addresses) {
        lookup = null;
        if (addresses.isEmpty()) {
            // This replica's own address should be among them, so an empty answer is a failure and
            // does not mean "no peers".
            fail("DNS has no addresses for " + (name == null ? settings.service() : name));
            return;
        }
        found = true;
        foundAt = clock.instant();
        failingSince = null;
        failure = null;
        // No limit is needed: a DNS answer has room for about 4,000 addresses.
        members = addresses.stream()
                .map(ip -> new Member(
                        null, (ip.contains(":") ? "[" + ip + "]" : ip) + ":" + replica.port(), Phase.SERVING))
                .toList();
    }

    private synchronized void failed(String reason) {
        lookup = null;
        fail(reason);
    }

    private void fail(String reason) {
        failure = reason;
        foundAt = null;
        failingSince = failingSince == null ? clock.instant() : failingSince;
    }

    private synchronized Membership current() {
        Freshness state = Freshness.LIVE;
        String reason = failure;
        Instant since = failingSince;
        if (!found) {
            state = Freshness.UNAVAILABLE;
            since = startedAt;
            reason = failure == null ? "no answer from DNS yet" : failure;
        } else if (failure != null) {
            state = Freshness.STALE;
        } else if (lookup != null) {
            state = Freshness.STALE;
            reason = "no answer from DNS yet";
            since = triedAt;
        }
        Expected expected = Expected.number(settings.expected(), Reconciliation.base(replica.instance()));
        if (reason == null && !expected.known()) {
            reason = "counter.peers.expected is not set: the expected number of replicas is unknown";
        }
        Long age = since == null
                ? null
                : Math.max(0, Duration.between(since, clock.instant()).toMillis());
        return new Membership(
                new PeersReport.Source(PeersReport.Kind.DNS, state, reason, age, chosen), expected, members);
    }

    private String describe(NamingException failure) {
        return failure instanceof NameNotFoundException
                ? "DNS has no name " + settings.service()
                : "DNS does not answer: " + PeerClient.printable(String.valueOf(failure.getMessage()));
    }

    @SuppressWarnings("JdkObsolete") // the constructor requires it
    private Set<String> lookUp() throws NamingException {
        Hashtable<String, String> environment = new Hashtable<>();
        environment.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
        environment.put("java.naming.provider.url", servers);
        environment.put("com.sun.jndi.dns.timeout.initial", "400");
        environment.put("com.sun.jndi.dns.timeout.retries", "2");
        DirContext dns = new InitialDirContext(environment);
        try {
            // Tries the name that existed last time first, because the other candidates would fail
            // every time.
            List<String> order = new ArrayList<>(candidates);
            if (name != null && order.remove(name)) {
                order.add(0, name);
            }
            for (String candidate : order) {
                Set<String> addresses = addresses(dns, candidate);
                if (addresses != null) {
                    name = candidate;
                    return addresses;
                }
            }
            throw new NameNotFoundException(settings.service());
        } finally {
            dns.close();
        }
    }

    /** Returns the addresses of a name, or null if the name does not exist. */
    private static @Nullable Set<String> addresses(DirContext dns, String name) throws NamingException {
        Set<String> addresses = new TreeSet<>();
        for (String type : List.of("A", "AAAA")) {
            if (addresses.isEmpty()) {
                try {
                    Attribute records = attributes(dns, name, type).get(type);
                    NamingEnumeration<?> values = records == null ? null : records.getAll();
                    while (values != null && values.hasMore()) {
                        addresses.add(String.valueOf(values.next()));
                    }
                } catch (NameNotFoundException e) {
                    return null;
                }
            }
        }
        return addresses;
    }

    /**
     * JNDI is safe here: this provider returns only text, and the name contains no ':' or '/' that
     * could select another provider.
     */
    @SuppressWarnings("BanJNDI")
    private static Attributes attributes(DirContext dns, String name, String type) throws NamingException {
        return dns.getAttributes(name, new String[] {type});
    }
}
