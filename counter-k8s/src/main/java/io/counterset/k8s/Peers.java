// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static java.util.Objects.requireNonNull;

import io.counterset.k8s.PeerClient.Answer;
import io.micronaut.context.annotation.Context;
import io.micronaut.context.annotation.Requires;
import io.micronaut.json.JsonMapper;
import jakarta.annotation.PostConstruct;
import jakarta.annotation.PreDestroy;
import jakarta.inject.Inject;
import java.net.InetAddress;
import java.time.Clock;
import java.time.Duration;
import java.time.InstantSource;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The replicas of a counter, seen from this one: who they are, what each one counts, and how
 * complete that picture is.
 *
 * <p>Peers are asked in rounds. A round asks every replica about one counter. All reports that are
 * requested before a round about the same counter begins share that round. One that is requested
 * while a round is running waits for the next round, because a peer may have answered already: a
 * report contains every add that was acknowledged before the report was requested. Rounds about the
 * main counter begin at least 250 ms apart, and so do rounds about all other counters together. However many clients ask, this replica asks a peer at most eight times a second, and
 * other counters never delay the main one. With more than 250 peers the interval is one millisecond
 * per peer.
 *
 * <p>Thread-safe; no method blocks. The application context creates this bean if there is a
 * {@link Replica} bean, and closes it.
 */
@Context
@Requires(beans = Replica.class)
public final class Peers implements AutoCloseable {

    /** The shortest interval between the starts of two rounds. */
    static final Duration INTERVAL = Duration.ofMillis(250);

    /** The largest number of peers for which a round may start every interval. */
    static final int PEERS_AN_INTERVAL = 250;

    /** The maximum number of counters, other than the main one, with a round waiting or running. */
    static final int MOST_ROUNDS = 16;

    /** The maximum number of remembered counts: four for each of the maximum number of peers. */
    private static final int MOST_COUNTS = 4 * PeersSettings.MOST_PEERS;

    /** Ticks in milliseconds; further digits are noise to a reader. */
    static final InstantSource CLOCK = Clock.tickMillis(ZoneOffset.UTC);

    /**
     * How long after a change of the list its new members are asked. Changes within that time are
     * handled together.
     */
    private static final long NOTICE_MILLIS = 200;

    /**
     * How many times a peer that said farewell is asked while the list does not yet show it as
     * terminating.
     */
    private static final int FAREWELL_ATTEMPTS = 5;

    private static final long FAREWELL_PAUSE_MILLIS = 100;

    /** The maximum number of losses in an answer; each takes up to 900 bytes. */
    private static final int MOST_LOSSES = 250;

    private static final Duration SAVE_INTERVAL = Duration.ofSeconds(5);
    private static final Logger LOG = LoggerFactory.getLogger(Peers.class);

    private final Replica replica;
    private final PeersSettings settings;
    private final PeerSource source;
    private final PeerMemory memory;
    private final PeerClient client;
    private final Restoration restoration;
    private final InstantSource clock;
    private final long interval;
    private final ScheduledThreadPoolExecutor timer;
    private final ExecutorService workers;
    private final ExecutorService resolver;

    /** The rounds waiting or running, by counter. Guarded by itself. */
    private final Map<String, Round> rounds = new HashMap<>();

    /**
     * When the next round about the main counter may begin. This and the next field are guarded by
     * {@link #rounds}.
     */
    private long nextMain = System.nanoTime();

    private long nextOther = nextMain;

    /**
     * The farewells received and not yet handled, by instance. Guards itself and the next field.
     */
    private final Map<String, CompletableFuture<Void>> farewells = new HashMap<>();

    /** The farewells being handled, by instance. */
    private final Map<String, CompletableFuture<Void>> hearing = new HashMap<>();

    private volatile int listed;
    private boolean closed;

    /** Whether a change of the list is waiting to be handled. */
    private final AtomicBoolean noticing = new AtomicBoolean();

    /**
     * The members already asked in their present state. Used only by the task that
     * {@link #noticing} admits.
     */
    private volatile Set<Membership.Member> noticed = Set.of();

    private final AtomicLong roundsBegun = new AtomicLong();
    private volatile @Nullable PeersReport latest;

    @Inject
    Peers(Replica replica, PeersSettings settings, PeerSource source, PeerAccess access, JsonMapper json) {
        this(replica, settings, source, access, json, CLOCK, INTERVAL);
    }

    /** For tests, which need a shorter interval and a clock of their own. */
    Peers(
            Replica replica,
            PeersSettings settings,
            PeerSource source,
            PeerAccess access,
            JsonMapper json,
            InstantSource clock,
            Duration interval) {
        this.replica = replica;
        this.settings = settings;
        this.source = source;
        this.clock = clock;
        this.interval = interval.toNanos();
        timer = new ScheduledThreadPoolExecutor(1, threads("timer"));
        timer.setRemoveOnCancelPolicy(true);
        timer.setExecuteExistingDelayedTasksAfterShutdownPolicy(false);
        workers = pool("worker", 4);
        resolver = pool("resolver", 16);
        memory = new PeerMemory(
                settings.directory(),
                json,
                replica.mainCounter(),
                settings.lossShown(),
                PeersSettings.MOST_PEERS,
                MOST_COUNTS);
        restoration = new Restoration(replica, settings.directory(), json, clock.instant());
        client = new PeerClient(
                settings, replica.contextPath(), json, resolver, InetAddress::getByName, timer, clock, access);
    }

    /** A round about one counter. Its fields are guarded by {@link #rounds}. */
    private static final class Round {
        private final CompletableFuture<PeersReport> report = new CompletableFuture<>();
        private boolean begun;

        /** The round after this one, if a report was requested after this one had begun. */
        private @Nullable Round next;
    }

    /** Starts finding peers and polling them. Called by the context. */
    @PostConstruct
    void start() {
        source.onChange(this::noticeChange);
        source.start();
        scheduleSave();
        if (!settings.refresh().isZero()) {
            scheduleRefresh(Duration.ofSeconds(1));
        }
    }

    /** Returns a report about the main counter. See {@link #report(String)}. */
    public CompletionStage<PeersReport> report() {
        return report(replica.mainCounter());
    }

    /**
     * Returns a report about one counter, which contains every add that was acknowledged before
     * this call. It completes at the deadline, at the latest, of the round that this call begins or
     * shares; a running round ends before that one begins. A counter that no replica has ever added
     * to is reported as 0 everywhere.
     *
     * <p>The stage fails with {@link RejectedExecutionException}, and no peer is asked, if the
     * counter is not the main one and rounds about 16 others are already in progress. It fails with
     * {@link StoppingException} if the context is closed. Failures of peers, or of the source of
     * their list, are part of the report and do not fail the stage.
     *
     * @throws IllegalArgumentException if the name is not a valid counter name
     */
    public CompletionStage<PeersReport> report(String counter) {
        replica.store().counter(counter); // rejects an invalid name
        Round round;
        long delay;
        synchronized (rounds) {
            Round present = rounds.get(counter);
            if (present != null && !present.begun) {
                return present.report.minimalCompletionStage();
            } else if (present != null) {
                if (present.next == null) {
                    present.next = new Round();
                }
                return present.next.report.minimalCompletionStage();
            }
            if (closed) {
                return CompletableFuture.failedStage(new StoppingException());
            }
            int others = rounds.size() - (rounds.containsKey(replica.mainCounter()) ? 1 : 0);
            if (!counter.equals(replica.mainCounter()) && others == MOST_ROUNDS) {
                return refused("too many peer reports in progress (" + MOST_ROUNDS + ")");
            }
            round = new Round();
            delay = enter(counter, round);
        }
        after(delay, () -> workers.execute(() -> begin(counter, round)));
        return round.report.minimalCompletionStage();
    }

    /**
     * Enters a round, and returns the nanoseconds until it may begin. The caller has locked {@link
     * #rounds}.
     */
    private long enter(String counter, Round round) {
        rounds.put(counter, round);
        boolean main = counter.equals(replica.mainCounter());
        long now = System.nanoTime();
        long next = main ? nextMain : nextOther;
        long begin = next - now > 0 ? next : now;
        next = begin + Math.max(interval, interval * listed / PEERS_AN_INTERVAL);
        if (main) {
            nextMain = next;
        } else {
            nextOther = next;
        }
        return begin - now;
    }

    /** Reads the answers to {@link Peers#ask}. */
    public interface Reader {

        /**
         * Reads the answer of a peer. Called on the thread of all connections to peers, so it must
         * be quick. It must not trust the answer, which may come from anyone.
         *
         * @param peer the peer that should have answered
         * @param body the body of the answer, whose status was 200
         * @return why the answer is unusable, in words for a report; null if it is accepted
         */
        @Nullable
        String read(PeersReport.Peer peer, byte[] body);
    }

    /**
     * Asks peers of a report for something other than their count, within the same deadline and
     * concurrency as a round and over the same connections. The caller must limit how often it does
     * this.
     *
     * @param peers peers of a report; those without an address are not asked
     * @param path the encoded path that every replica answers, without the context path
     * @param mostBytes the largest answer accepted
     * @param reader called with each answer
     * @return the peers without a usable answer, each with the reason; completes at the deadline at
     *     the latest, and never fails
     */
    public CompletionStage<Map<PeersReport.Peer, String>> ask(
            List<PeersReport.Peer> peers, String path, int mostBytes, Reader reader) {
        Map<Membership.Member, PeersReport.Peer> asked = new LinkedHashMap<>();
        Map<PeersReport.Peer, String> reasons = new HashMap<>();
        for (PeersReport.Peer peer : peers) {
            if (peer.address() == null) {
                reasons.put(peer, "not asked: it has no address");
            } else {
                asked.put(new Membership.Member(peer.instance(), peer.address(), Membership.Phase.SERVING), peer);
            }
        }
        return client.ask(
                        List.copyOf(asked.keySet()),
                        path,
                        mostBytes,
                        (member, body) -> reader.read(requireNonNull(asked.get(member)), body))
                .thenApply(answers -> {
                    answers.forEach((member, answer) -> {
                        if (answer instanceof PeerClient.Failed failed) {
                            reasons.put(requireNonNull(asked.get(member)), failed.reason());
                        }
                    });
                    return reasons;
                });
    }

    /**
     * Tells every peer that this replica has stopped counting, so that each asks it once more and
     * remembers its final counts. Call it after {@link Replica#seal()} has sealed the store, while
     * counts are still served. The peers' answers are remembered, so peers that stop at the same
     * time exchange their final counts.
     *
     * <p>Returns a stage that completes, never exceptionally, once every peer has answered or the
     * deadline of a round has passed. No count is lost if the caller does not wait: a peer that has
     * not asked reports the last known count, and not as final.
     */
    public CompletionStage<?> bidFarewell() {
        String counter = replica.mainCounter();
        return CompletableFuture.completedStage(source)
                .thenCompose(PeerSource::membership)
                .thenApply(found -> Reconciliation.withRemembered(found, memory))
                .thenCompose(membership -> client.bidFarewell(Reconciliation.toAsk(membership, replica), replica)
                        .thenApplyAsync(answers -> report(counter, membership, answers), workers))
                .exceptionally(failure -> {
                    LOG.warn("could not tell the peers that this replica is stopping", failure);
                    return null;
                });
    }

    /**
     * Handles the message that a peer has stopped counting: asks that peer for its counts. Nothing
     * in the message is trusted. The peer is asked at the address in this replica's own list, and
     * only if there is one, so a forged message can neither retire a replica nor set its count.
     *
     * <p>Returns a stage that completes once the peer's answer is saved to disk. It fails only with
     * {@link StoppingException}, if the context is closed. Concurrent calls about one peer are
     * coalesced: it is asked by one of them at a time.
     */
    public CompletionStage<?> hearFarewell(String instance) {
        return unlessClosed(() -> hear(instance));
    }

    private CompletionStage<Void> hear(String instance) {
        CompletableFuture<Void> heard = new CompletableFuture<>();
        CompletableFuture<Void> before;
        synchronized (farewells) {
            CompletableFuture<Void> next = farewells.get(instance);
            if (next != null) {
                return next.minimalCompletionStage(); // it starts after this call
            } else if (farewells.size() == PeersSettings.MOST_PEERS) {
                return CompletableFuture.completedStage(null);
            }
            before = hearing.getOrDefault(instance, CompletableFuture.completedFuture(null));
            farewells.put(instance, heard);
        }
        CompletionStage<?> unused = before.thenComposeAsync(
                        done -> {
                            synchronized (farewells) {
                                farewells.remove(instance);
                                hearing.put(instance, heard);
                            }
                            return askForFinal(instance, FAREWELL_ATTEMPTS);
                        },
                        workers)
                .whenComplete((done, failure) -> {
                    synchronized (farewells) {
                        farewells.remove(instance, heard);
                        hearing.remove(instance, heard);
                    }
                    if (failure == null) {
                        heard.complete(null);
                    } else if (isClosed()) {
                        heard.completeExceptionally(failure);
                    } else {
                        LOG.warn("could not ask {} for its final counts", instance, failure);
                        heard.complete(null);
                    }
                });
        return heard.minimalCompletionStage();
    }

    /**
     * Asks again after a moment if the list does not show the peer as terminating yet, because the
     * message can overtake the list.
     */
    private CompletionStage<?> askForFinal(String instance, int attempts) {
        return source.membership().thenCompose(found -> {
            Membership membership = Reconciliation.withRemembered(found, memory);
            List<Membership.Member> members = Reconciliation.named(membership, instance, memory);
            if (members.isEmpty() || instance.equals(replica.instance())) {
                return CompletableFuture.completedStage(null);
            }
            CompletionStage<Boolean> sealed = CompletableFuture.completedStage(false);
            for (String counter : memory.countersOf(instance)) {
                sealed = sealed.thenCompose(last -> client.ask(members, counter)
                        .thenApplyAsync(
                                answers -> {
                                    report(counter, membership, answers);
                                    return answers.values().stream()
                                            .anyMatch(answer -> answer instanceof PeerClient.Counted counted
                                                    && counted.count().isFinal());
                                },
                                workers));
            }
            return sealed.thenComposeAsync(
                    isSealed -> {
                        memory.save(clock.instant());
                        boolean again = isSealed && attempts > 1 && !memory.isFinal(instance);
                        return again
                                ? CompletableFuture.supplyAsync(
                                                () -> askForFinal(instance, attempts - 1),
                                                CompletableFuture.delayedExecutor(
                                                        FAREWELL_PAUSE_MILLIS, TimeUnit.MILLISECONDS, workers))
                                        .thenCompose(asked -> asked)
                                : CompletableFuture.completedStage(null);
                    },
                    workers);
        });
    }

    /**
     * Returns the losses of a peer that this replica remembers, the main counter first; at most
     * 250.
     */
    public Restoration.Losses losses(String instance) {
        List<Restoration.Loss> all = new ArrayList<>();
        Optional<Known> known =
                memory.lossesOf(instance, replica.store().identity().id(), all);
        return new Restoration.Losses(
                replica.instance(),
                replica.group(),
                instance,
                known.map(peer -> peer.store().id()).orElse(null),
                all.subList(0, Math.min(MOST_LOSSES, all.size())));
    }

    /**
     * Restores the counts that this replica lost with former volumes and its peers still remember,
     * each exactly once. Another call, or a call with another peer, adds only what is remembered
     * beyond that. A count is not restored if this replica itself has already counted as much as
     * the lost store did, or if the record of what was restored before is missing, unless {@code
     * force} is true. Restored counts are durable when the stage completes. The result lists as
     * failures the peers that could not be asked or have not yet seen this replica's present store.
     *
     * @param from the peer to ask: its instance name, or its address in the list of peers; null for
     *     all peers
     * @param dryRun whether to change nothing
     * @param force whether to restore even if this replica has already counted as much, or if the
     *     record of what was restored before is missing
     * @return a stage that fails with {@link IllegalArgumentException} if no such peer is listed,
     *     and with {@link StoppingException} if the store is sealed or the context is closed;
     *     nothing was added then
     */
    public CompletionStage<Restoration.Result> restore(@Nullable String from, boolean dryRun, boolean force) {
        return replica.isSealed()
                ? CompletableFuture.failedStage(new StoppingException())
                : unlessClosed(() -> restoreFrom(from, dryRun, force));
    }

    private CompletionStage<Restoration.Result> restoreFrom(@Nullable String from, boolean dryRun, boolean force) {
        return source.membership().thenCompose(found -> {
            Membership membership = Reconciliation.withRemembered(found, memory);
            List<Membership.Member> all = Reconciliation.toAsk(membership, replica);
            List<Membership.Member> members = all.stream()
                    .filter(member -> from == null || member.address().equals(from) || from.equals(member.instance()))
                    .toList();
            // A list of addresses does not tell which of them has that name, so all are asked.
            boolean isNameOnly = from != null && members.isEmpty();
            if (isNameOnly) {
                members =
                        all.stream().filter(member -> member.instance() == null).toList();
            }
            AtomicBoolean isFound = new AtomicBoolean(!isNameOnly);
            List<String> failures = Collections.synchronizedList(new ArrayList<>());
            List<Restoration.Losses> answers = Collections.synchronizedList(new ArrayList<>());
            return client.losses(members, replica.instance(), (member, losses) -> {
                        if (losses.askedBy().equals(replica.instance())) {
                            return null; // a list of addresses may include this replica
                        }
                        if (isNameOnly && !losses.askedBy().equals(from)) {
                            return null;
                        }
                        isFound.set(true);
                        String problem = problem(member, losses);
                        if (problem == null) {
                            answers.add(losses);
                        }
                        return problem;
                    })
                    .thenApplyAsync(
                            replies -> {
                                replies.forEach((member, answer) -> {
                                    if (answer instanceof PeerClient.Failed failed) {
                                        failures.add(member.address() + ": " + failed.reason());
                                    }
                                });
                                if (from != null && !isFound.get() && failures.isEmpty()) {
                                    throw new IllegalArgumentException("'" + PeerClient.printable(from)
                                            + "' is not a listed peer; expected an instance or an address of /peers");
                                }
                                if (isNameOnly && !answers.isEmpty()) {
                                    failures.clear(); // of others
                                }
                                failures.sort(Comparator.naturalOrder());
                                return new Restoration.Result(
                                        replica.instance(),
                                        dryRun,
                                        restoration.restore(
                                                Restoration.largest(answers), dryRun, force, clock.instant()),
                                        failures);
                            },
                            workers);
        });
    }

    private @Nullable String problem(Membership.Member member, Restoration.Losses losses) {
        boolean otherName = member.instance() != null && !member.instance().equals(losses.askedBy());
        boolean otherGroup = replica.group() != null && !replica.group().equals(losses.group());
        if (otherName || otherGroup || !losses.instance().equals(replica.instance())) {
            return "answered as " + losses.askedBy() + (losses.group() == null ? "" : " of " + losses.group());
        } else if (!replica.store().identity().id().equals(losses.store())) {
            return losses.askedBy() + " has not yet seen the store that " + replica.instance()
                    + " has now; ask it for /peers, then try again";
        }
        return null;
    }

    /**
     * Forgets everything that this replica remembers of a peer: its counts, former stores and
     * losses. If the peer answers again, it is remembered as new. Each replica has its own memory,
     * so the other replicas still remember the peer.
     *
     * @return a stage with whether anything was remembered; it completes once the change is on
     *     disk. It fails with {@link StoppingException} if the context is closed; nothing was
     *     forgotten then
     */
    public CompletionStage<Boolean> forget(String instance) {
        return unlessClosed(() -> CompletableFuture.supplyAsync(
                () -> {
                    boolean forgotten = memory.forgetInstance(instance);
                    memory.save(clock.instant());
                    return forgotten;
                },
                workers));
    }

    /**
     * Returns the result of the work. If the work fails because this replica is stopping, the stage
     * fails with {@link StoppingException}.
     */
    private <T> CompletionStage<T> unlessClosed(Supplier<CompletionStage<T>> work) {
        if (isClosed()) {
            return CompletableFuture.failedStage(new StoppingException());
        }
        CompletionStage<T> stage;
        try {
            stage = work.get();
        } catch (RejectedExecutionException e) { // closed meanwhile
            return CompletableFuture.failedStage(new StoppingException());
        }
        return stage.exceptionallyCompose(
                failure -> CompletableFuture.failedStage(isClosed() ? new StoppingException() : failure));
    }

    private boolean isClosed() {
        synchronized (rounds) {
            return closed;
        }
    }

    /** This replica is stopping and no longer asks its peers. */
    public static final class StoppingException extends RejectedExecutionException {
        private static final long serialVersionUID = 1L;

        StoppingException() {
            super("this replica is stopping and no longer asks its peers");
        }
    }

    /**
     * Returns whether the latest report is current: no older than three times the interval between
     * two.
     */
    public boolean isCurrent() {
        PeersReport last = latest;
        if (last == null) {
            return false;
        }
        Duration period = settings.refresh().isZero() ? Duration.ofMinutes(1) : period(last);
        return last.at().plus(period.multipliedBy(3)).isAfter(clock.instant());
    }

    private Duration period(PeersReport last) {
        Duration fair = Duration.ofMillis(500L * last.peers().size());
        return fair.compareTo(settings.refresh()) > 0 ? fair : settings.refresh();
    }

    /**
     * Returns the latest report about the main counter, for health checks and metrics, which must
     * not contact peers.
     */
    public Optional<PeersReport> latest() {
        return Optional.ofNullable(latest);
    }

    /**
     * Returns statistics about requests to peers and the memory of peers since this replica
     * started.
     */
    public Statistics statistics() {
        return new Statistics(
                roundsBegun.get(),
                client.asked(),
                client.failed(),
                memory.size(),
                memory.saves(),
                memory.saveFailures());
    }

    /**
     * Statistics about requests to peers and the memory of peers since this replica started. All
     * values except {@code remembered} only grow.
     *
     * @param rounds the number of rounds
     * @param asked the number of requests to peers
     * @param failed the number of requests that gave no count
     * @param remembered the number of remembered peers
     * @param saves how many times the memory was written to disk
     * @param saveFailures how many times that failed
     */
    public record Statistics(long rounds, long asked, long failed, int remembered, long saves, long saveFailures) {}

    /** Stops asking peers, fails the pending reports, and saves what is remembered. */
    @Override
    @PreDestroy
    public void close() {
        List<Round> open = new ArrayList<>();
        synchronized (rounds) {
            if (closed) {
                return;
            }
            closed = true;
            for (Round round : rounds.values()) {
                open.add(round);
                if (round.next != null) {
                    open.add(round.next);
                }
            }
            rounds.clear();
        }
        timer.shutdownNow();
        source.close();
        open.forEach(round -> round.report.completeExceptionally(new StoppingException()));
        client.close();
        workers.shutdown();
        resolver.shutdownNow();
        memory.saveAll(clock.instant());
    }

    private void begin(String counter, Round round) {
        synchronized (rounds) {
            round.begun = true;
        }
        roundsBegun.incrementAndGet();
        CompletableFuture.completedStage(source)
                .thenCompose(PeerSource::membership) // inside the stage, so that an exception fails only this round
                .thenCompose(found -> {
                    Membership membership = Reconciliation.withRemembered(found, memory);
                    listed = membership.members().size();
                    return client.ask(Reconciliation.toAsk(membership, replica), counter)
                            .thenApplyAsync(answers -> report(counter, membership, answers), workers);
                })
                .whenComplete((report, failure) -> {
                    if (report != null && counter.equals(replica.mainCounter())) {
                        latest = report;
                    }
                    boolean wanted;
                    Round next = null;
                    long delay = 0;
                    synchronized (rounds) {
                        wanted = rounds.remove(counter, round);
                        if (wanted && round.next != null) {
                            next = round.next;
                            delay = enter(counter, next);
                        }
                    }
                    if (next != null) {
                        Round following = next;
                        after(delay, () -> workers.execute(() -> begin(counter, following)));
                    }
                    if (failure != null) {
                        if (wanted) {
                            LOG.error("a report about {} failed", counter, failure);
                        }
                        round.report.completeExceptionally(failure);
                    } else {
                        round.report.complete(report);
                    }
                });
    }

    private PeersReport report(String counter, Membership membership, Map<Membership.Member, Answer> answers) {
        return Reconciliation.report(counter, membership, answers, replica, memory, clock.instant());
    }

    private void noticeChange() {
        if (noticing.compareAndSet(false, true)) {
            after(TimeUnit.MILLISECONDS.toNanos(NOTICE_MILLIS), () -> {
                noticing.set(false);
                workers.execute(this::askNewMembers);
            });
        }
    }

    /**
     * Asks only the members that were just listed, have a new address, have begun to serve or are
     * being stopped. A replica that stops soon after has then been seen once, and a change costs
     * one request however many replicas there are.
     */
    private void askNewMembers() {
        CompletionStage<?> unused = source.membership().thenCompose(membership -> {
            List<Membership.Member> members = Reconciliation.toAsk(membership, replica);
            Set<Membership.Member> before = noticed;
            noticed = Set.copyOf(members);
            List<Membership.Member> changed =
                    members.stream().filter(member -> !before.contains(member)).toList();
            return client.ask(changed, replica.mainCounter())
                    .thenApplyAsync(answers -> report(replica.mainCounter(), membership, answers), workers);
        });
    }

    /**
     * Polls the peers for the main counter. The interval grows with their number, to at most two
     * requests a second from this replica. Jitter makes replicas that started together drift apart.
     */
    private void scheduleRefresh(Duration delay) {
        long nanos = (long) (delay.toNanos() * ThreadLocalRandom.current().nextDouble(0.9, 1.1));
        after(nanos, () -> {
            PeersReport last = latest;
            Duration period = last == null ? settings.refresh() : period(last);
            Duration age = last == null ? period : Duration.between(last.at(), clock.instant());
            if (age.isNegative() || age.compareTo(period.dividedBy(2)) >= 0) {
                report();
                scheduleRefresh(period);
            } else {
                scheduleRefresh(period.minus(age));
            }
        });
    }

    /** Runs a task later, unless this is closed by then. */
    private void after(long nanos, Runnable task) {
        try {
            ScheduledFuture<?> unused = timer.schedule(task, nanos, TimeUnit.NANOSECONDS);
        } catch (RejectedExecutionException e) {
            LOG.debug("closed meanwhile", e);
        }
    }

    private void scheduleSave() {
        after(SAVE_INTERVAL.toNanos(), () -> {
            // One save at a time, so that a hung disk cannot block all workers.
            workers.execute(() -> {
                memory.save(clock.instant());
                scheduleSave();
            });
        });
    }

    private static CompletionStage<PeersReport> refused(String reason) {
        return CompletableFuture.failedStage(new RejectedExecutionException(reason));
    }

    private static ExecutorService pool(String name, int size) {
        ThreadPoolExecutor pool =
                new ThreadPoolExecutor(size, size, 10, TimeUnit.SECONDS, new LinkedBlockingQueue<>(), threads(name));
        pool.allowCoreThreadTimeOut(true);
        return pool;
    }

    private static ThreadFactory threads(String name) {
        AtomicLong number = new AtomicLong();
        return task -> {
            Thread thread = new Thread(task, "counterset-peers-" + name + "-" + number.incrementAndGet());
            thread.setDaemon(true);
            return thread;
        };
    }
}
