// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import io.counterset.k8s.Membership.Member;
import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import java.io.IOException;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.time.Instant;
import java.time.InstantSource;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.BiConsumer;
import java.util.function.BiFunction;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Requests counts from peers over HTTP. The number of concurrent requests is bounded; each request
 * has a timeout, and all requests of a round share one deadline. Connections are kept alive and
 * reused. Thread-safe; never blocks its caller.
 *
 * <p>Answers are not trusted. Their size is bounded while they arrive, the timeout includes the
 * last byte of the body, every field is checked, and redirects are not followed. A bad answer is a
 * failure of that peer alone.
 */
final class PeerClient implements AutoCloseable {

    private static final Pattern LITERAL = Pattern.compile("[0-9]+(\\.[0-9]+){3}|\\[.*]");
    private static final int MOST_LOSSES_BYTES = 256 * 1024;
    private static final JsonFactory TOKENS = new JsonFactory();

    /** Resolves a host name; may block. */
    interface Lookup {
        InetAddress address(String host) throws UnknownHostException;
    }

    private final String contextPath;
    private final PeerConnections connections;
    private final Lookup lookup;
    private final JsonMapper json;
    private final Executor resolver;
    private final ScheduledExecutorService timer;
    private final InstantSource clock;
    private final Duration timeout;
    private final Duration deadline;
    private final int concurrency;

    /**
     * Addresses that did not answer last time. They are asked last, so that they do not delay live
     * peers.
     */
    private final Set<String> silent = ConcurrentHashMap.newKeySet();

    private final Set<FanOut> running = ConcurrentHashMap.newKeySet();

    private final LongAdder asked = new LongAdder();
    private final LongAdder failed = new LongAdder();

    /**
     * The pending look-ups by host. Only one thread at a time resolves each host. Guarded by
     * itself.
     */
    private final Map<String, Set<CompletableFuture<InetAddress>>> lookups = new HashMap<>();

    PeerClient(
            PeersSettings settings,
            String contextPath,
            JsonMapper json,
            Executor resolver,
            Lookup lookup,
            ScheduledExecutorService timer,
            InstantSource clock,
            PeerAccess access) {
        this.contextPath = contextPath;
        this.json = json;
        this.resolver = resolver;
        this.lookup = lookup;
        this.timer = timer;
        this.clock = clock;
        this.timeout = settings.timeout();
        this.deadline = settings.deadline();
        this.concurrency = settings.concurrency();
        this.connections = new PeerConnections(timeout, access);
    }

    /** The outcome of a request to one peer. */
    sealed interface Answer {}

    /**
     * The peer returned a count. The caller must check that the answer comes from the right
     * replica.
     *
     * @param at when the answer arrived, by the clock
     * @param order when it arrived, by {@link System#nanoTime}
     * @param millis how long it took
     */
    record Counted(Replica.Count count, Instant at, long order, double millis) implements Answer {}

    /** The peer gave no usable answer. The reason is in words for the report. */
    record Failed(String reason) implements Answer {}

    /**
     * The peer answered a request for something other than a count, and the reader accepted the
     * answer.
     */
    record Read() implements Answer {}

    /**
     * A request.
     *
     * @param path the encoded path
     * @param mostBytes the largest answer accepted
     * @param reader converts a member's answer; runs on the thread of all connections, so it must
     *     be quick
     * @param isCount whether it is a request for a count, whose failures decide who is asked last
     *     next time
     */
    private record Question(String path, int mostBytes, Reader reader, boolean isCount) {}

    /** Converts a member's answer. */
    private interface Reader {
        Answer read(Member member, byte[] body, double millis);
    }

    /**
     * Asks every member for its count. Completes with an answer for each at the deadline at the
     * latest, and never fails.
     */
    CompletionStage<Map<Member, Answer>> ask(List<Member> members, String counter) {
        return ask(members, counter, "/count/" + Replica.encoded(counter));
    }

    /** As above, with a path to which every member answers with its count of that counter. */
    private CompletionStage<Map<Member, Answer>> ask(List<Member> members, String counter, String path) {
        List<Member> order = new ArrayList<>(members);
        order.sort(Comparator.comparing(member -> silent.contains(member.address())));
        return ask(
                order,
                new Question(
                        contextPath + path,
                        PeerConnections.MOST_BYTES,
                        (member, body, millis) -> read(body, counter, millis),
                        true));
    }

    /**
     * Asks every member for something other than its count. Completes with {@link Read} or
     * {@link Failed} for each at the deadline at the latest, and never fails.
     *
     * @param path the encoded path, without the context path
     * @param mostBytes the largest answer accepted
     * @param reader returns why an answer is unusable, or null if it is accepted; called on the
     *     thread of all connections
     */
    CompletionStage<Map<Member, Answer>> ask(
            List<Member> members, String path, int mostBytes, BiFunction<Member, byte[], @Nullable String> reader) {
        return ask(
                members,
                new Question(
                        contextPath + path,
                        mostBytes,
                        (member, body, millis) -> {
                            String refusal = reader.apply(member, body);
                            return refusal == null ? new Read() : new Failed(refusal);
                        },
                        false));
    }

    private CompletionStage<Map<Member, Answer>> ask(List<Member> order, Question question) {
        FanOut fanOut = new FanOut(order, question);
        running.add(fanOut);
        fanOut.begin();
        return fanOut.done.whenComplete((answers, failure) -> running.remove(fanOut));
    }

    /**
     * Asks every member to request this replica's counts once more. Each then answers with its own
     * count of the main counter.
     */
    CompletionStage<Map<Member, Answer>> bidFarewell(List<Member> members, Replica replica) {
        return ask(members, replica.mainCounter(), "/peers/farewell/" + Replica.encoded(replica.instance()));
    }

    long asked() {
        return asked.sum();
    }

    long failed() {
        return failed.sum();
    }

    /** Cancels every request and closes the connections in the background. */
    @Override
    public void close() {
        running.forEach(FanOut::expire);
        connections.close();
    }

    /** One request to many members. */
    private final class FanOut {

        private final CompletableFuture<Map<Member, Answer>> done = new CompletableFuture<>();
        private final List<Member> order;
        private final Question question;
        private final Map<Member, Answer> answers = new HashMap<>();
        private final Map<Member, CompletableFuture<?>> waiting = new HashMap<>();
        private int next;
        private boolean starting;
        private @Nullable ScheduledFuture<?> expiry;

        FanOut(List<Member> order, Question question) {
            this.order = order;
            this.question = question;
        }

        void begin() {
            if (order.isEmpty()) {
                done.complete(Map.of());
                return;
            }
            synchronized (this) {
                expiry = timer.schedule(this::expire, deadline.toNanos(), TimeUnit.NANOSECONDS);
            }
            startSome();
        }

        /**
         * Sends as many requests as concurrency allows. Only one thread at a time runs the loop, so
         * that quick answers do not nest calls.
         */
        private void startSome() {
            while (true) {
                Member member;
                CompletableFuture<Answer> answer = new CompletableFuture<>();
                synchronized (this) {
                    if (starting || next == order.size() || waiting.size() == concurrency || done.isDone()) {
                        return;
                    }
                    starting = true;
                    member = order.get(next++);
                    waiting.put(member, answer);
                }
                listen(answer, (result, failure) -> answered(member, result));
                askOne(member, question, answer);
                synchronized (this) {
                    starting = false;
                }
            }
        }

        private void answered(Member member, Answer answer) {
            Map<Member, Answer> all = null;
            synchronized (this) {
                if (waiting.remove(member) == null) {
                    return;
                }
                record(member, answer);
                if (answers.size() == order.size()) {
                    all = finish();
                }
            }
            if (all != null) {
                done.complete(all);
            } else {
                startSome();
            }
        }

        private void expire() {
            List<CompletableFuture<?>> late;
            Map<Member, Answer> all;
            synchronized (this) {
                if (answers.size() == order.size()) {
                    return;
                }
                late = new ArrayList<>(waiting.values());
                waiting.keySet()
                        .forEach(member -> record(
                                member, new Failed("no answer within the " + text(deadline) + " for all peers")));
                waiting.clear();
                // Not the peer's failure: it is not counted as one, and the peer keeps its place in
                // the next round.
                for (; next < order.size(); next++) {
                    answers.put(
                            order.get(next), new Failed("not asked within the " + text(deadline) + " for all peers"));
                }
                all = finish();
            }
            late.forEach(answer -> answer.cancel(false));
            done.complete(all);
        }

        private void record(Member member, Answer answer) {
            answers.put(member, answer);
            asked.increment();
            if (answer instanceof Failed) {
                failed.increment();
            }
            if (!question.isCount()) {
                return;
            } else if (answer instanceof Failed) {
                silent.add(member.address());
            } else {
                silent.remove(member.address());
            }
        }

        private Map<Member, Answer> finish() {
            if (expiry != null) {
                expiry.cancel(false);
            }
            if (question.isCount()) {
                Set<String> addresses = new HashSet<>();
                order.forEach(member -> addresses.add(member.address()));
                silent.retainAll(addresses); // forget addresses that are no longer listed
            }
            return Map.copyOf(answers);
        }
    }

    /**
     * Completes the answer, never exceptionally. If the caller completes it first, the request is
     * cancelled.
     */
    private void askOne(Member member, Question question, CompletableFuture<Answer> answer) {
        String address = member.address();
        ScheduledFuture<?> expiry = timer.schedule(
                () -> answer.complete(new Failed("no answer within " + text(timeout))),
                timeout.toNanos(),
                TimeUnit.NANOSECONDS);
        listen(answer, (result, failure) -> expiry.cancel(false));
        int colon = address.lastIndexOf(':');
        String host = address.substring(0, colon);
        int port = Integer.parseInt(address.substring(colon + 1));
        listen(resolve(host, answer), (found, failure) -> {
            if (failure == null) {
                send(new InetSocketAddress(found, port), member, question, answer);
            } else {
                answer.complete(new Failed("its name does not resolve"));
            }
        });
    }

    private void send(InetSocketAddress to, Member member, Question question, CompletableFuture<Answer> answer) {
        if (answer.isDone()) {
            return;
        }
        long start = System.nanoTime();
        CompletableFuture<byte[]> body = connections.get(to, member.address(), question.path(), question.mostBytes());
        listen(body, (bytes, failure) -> {
            double millis = (System.nanoTime() - start) / 1e6;
            answer.complete(
                    failure == null ? question.reader().read(member, bytes, millis) : new Failed(reason(failure)));
        });
        listen(answer, (result, failure) -> body.cancel(false));
    }

    private static <T> void listen(
            CompletionStage<T> stage, BiConsumer<? super T, ? super @Nullable Throwable> listener) {
        stage.whenComplete(listener);
    }

    /** Resolves a host: at once if it is an IP literal, otherwise on a thread that may block. */
    private CompletableFuture<InetAddress> resolve(String host, CompletableFuture<Answer> answer) {
        if (LITERAL.matcher(host).matches()) {
            return lookUp(host);
        }
        CompletableFuture<InetAddress> found = new CompletableFuture<>();
        boolean first;
        synchronized (lookups) {
            first = !lookups.containsKey(host);
            lookups.computeIfAbsent(host, key -> new HashSet<>()).add(found);
        }
        listen(answer, (result, failure) -> forget(host, found));
        if (first) {
            try {
                resolver.execute(() -> tell(host, lookUp(host)));
            } catch (RejectedExecutionException e) {
                tell(host, CompletableFuture.failedFuture(e)); // closed
            }
        }
        return found;
    }

    private CompletableFuture<InetAddress> lookUp(String host) {
        try {
            return CompletableFuture.completedFuture(lookup.address(host));
        } catch (UnknownHostException | RuntimeException e) {
            return CompletableFuture.failedFuture(e);
        }
    }

    private void tell(String host, CompletableFuture<InetAddress> result) {
        Set<CompletableFuture<InetAddress>> waiting;
        synchronized (lookups) {
            waiting = Set.copyOf(lookups.getOrDefault(host, Set.of()));
            lookups.remove(host);
        }
        listen(
                result,
                (address, failure) -> waiting.forEach(found -> {
                    if (failure == null) {
                        found.complete(address);
                    } else {
                        found.completeExceptionally(failure);
                    }
                }));
    }

    @SuppressWarnings("CollectionUndefinedEquality") // look-ups are distinguished by identity
    private void forget(String host, CompletableFuture<InetAddress> found) {
        synchronized (lookups) {
            Set<CompletableFuture<InetAddress>> waiting = lookups.get(host);
            if (waiting != null) {
                waiting.remove(found);
            }
        }
    }

    /** Returns how many hosts are being resolved. */
    int lookups() {
        synchronized (lookups) {
            return lookups.size();
        }
    }

    private Answer read(byte[] body, String counter, double millis) {
        try {
            JsonNode node = json.readValue(body, JsonNode.class);
            if (node == null || !node.isObject()) {
                return notACount("not a JSON object");
            } else if (hasMore(body)) {
                return notACount("more than one JSON value");
            }
            String instance = string(node, "instance");
            String counted = string(node, "counter");
            String store = string(node, "store");
            Long count = number(node, "count");
            Long incarnation = number(node, "incarnation");
            if (instance == null || !Replica.isInstanceName(instance)) {
                return notACount("no instance");
            } else if (counted == null || !counted.equals(counter)) {
                return notACount("another counter");
            } else if (count == null || count < 0) {
                return notACount("no count");
            } else if (store == null || incarnation == null || incarnation < 0) {
                return notACount("no store");
            }
            JsonNode sealed = node.get("final");
            String group = string(node, "group");
            if (group != null && !Replica.isInstanceName(group)) {
                return notACount("no group");
            }
            boolean isFinal = sealed != null && sealed.isBoolean() && sealed.getBooleanValue();
            Long restored = number(node, "restored");
            Long lastMinute = number(node, "lastMinute");
            String process = string(node, "process");
            return new Counted(
                    new Replica.Count(
                            instance,
                            counter,
                            count,
                            UUID.fromString(store),
                            incarnation,
                            isFinal,
                            group,
                            isPartOf(restored, count) ? restored : null,
                            process == null ? null : UUID.fromString(process),
                            isPartOf(lastMinute, count) ? lastMinute : null),
                    clock.instant(),
                    System.nanoTime(),
                    millis);
        } catch (IOException | RuntimeException e) {
            return notACount("not the JSON of a count");
        }
    }

    private static boolean isPartOf(@Nullable Long amount, long count) {
        return amount != null && amount >= 0 && amount <= count;
    }

    /**
     * Asks members for the losses that they remember of a replica.
     *
     * @param reader returns why an answer is unusable, or null if it is accepted; called on the
     *     thread of all connections
     */
    CompletionStage<Map<Member, Answer>> losses(
            List<Member> members, String instance, BiFunction<Member, Restoration.Losses, @Nullable String> reader) {
        return ask(members, "/peers/losses/" + Replica.encoded(instance), MOST_LOSSES_BYTES, (member, body) -> {
            try {
                Restoration.Losses losses = json.readValue(body, Restoration.Losses.class);
                if (losses != null && !hasMore(body) && losses.isSound()) {
                    return reader.apply(member, losses);
                }
            } catch (IOException | RuntimeException e) {
                // Refused below.
            }
            return "answered something other than the losses it remembers";
        });
    }

    private static @Nullable String string(JsonNode object, String name) {
        JsonNode value = object.get(name);
        return value != null && value.isString() ? value.getStringValue() : null;
    }

    private static @Nullable Long number(JsonNode object, String name) {
        JsonNode value = object.get(name);
        if (value == null || !value.isNumber()) {
            return null;
        }
        Number number = value.getNumberValue();
        boolean whole = number instanceof Integer
                || number instanceof Long
                || (number instanceof BigInteger big && big.bitLength() < Long.SIZE);
        return whole ? number.longValue() : null;
    }

    private static Failed notACount(String what) {
        return new Failed("answered something other than its count (" + what + ")");
    }

    /** Returns whether anything other than white space follows the first value. */
    private static boolean hasMore(byte[] body) throws IOException {
        try (JsonParser tokens = TOKENS.createParser(body)) {
            tokens.nextToken();
            tokens.skipChildren();
            return tokens.nextToken() != null;
        }
    }

    private static String reason(Throwable failure) {
        return failure instanceof PeerConnections.Refused refused ? refused.getMessage() : "the request was withdrawn";
    }

    static String printable(String text) {
        String clean = text.replaceAll("\\p{C}+", " ").strip();
        return clean.length() <= 250 ? clean : clean.substring(0, 250);
    }

    static String text(Duration duration) {
        return duration.toMillis() % 1_000 == 0 ? duration.toSeconds() + " s" : duration.toMillis() + " ms";
    }
}
