package io.counterset.k8s;

import io.counterset.k8s.Membership.Member;
import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigInteger;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.URI;
import java.net.URLEncoder;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodySubscriber;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
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
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Flow;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.BiConsumer;
import java.util.regex.Pattern;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import org.jspecify.annotations.Nullable;

/**
 * Asks peers for their counts over HTTP: many at the same time but no more than a bound, each within its own time, all within one
 * deadline. Connections are kept and used again. Thread-safe; never blocks its caller.
 *
 * <p>What a peer sends is not trusted: its size is bounded while it arrives, its time includes the last byte of the body, its
 * shape is checked field by field, and redirects are not followed. Whatever is wrong with one answer is that peer's failure alone.
 */
final class PeerClient implements AutoCloseable {

    /** Names take at most 128 and 253 characters, six times as many when every one is escaped. */
    static final int MOST_BYTES = 8_192;

    private static final Pattern LITERAL = Pattern.compile("([0-9.]+|\\[.*])(:[0-9]+)?");

    private final HttpClient http;
    private final JsonMapper json;
    private final Executor resolver;
    private final ScheduledExecutorService timer;
    private final InstantSource clock;
    private final Duration timeout;
    private final Duration deadline;
    private final int concurrency;

    /** Addresses that did not answer the last time: they are asked last, so that they take no live peer's turn. */
    private final Set<String> silent = ConcurrentHashMap.newKeySet();

    private final Set<FanOut> running = ConcurrentHashMap.newKeySet();

    private final LongAdder asked = new LongAdder();
    private final LongAdder failed = new LongAdder();

    PeerClient(
            PeersSettings settings,
            JsonMapper json,
            ExecutorService workers,
            Executor resolver,
            ScheduledExecutorService timer,
            InstantSource clock) {
        this.json = json;
        this.resolver = resolver;
        this.timer = timer;
        this.clock = clock;
        this.timeout = settings.timeout();
        this.deadline = settings.deadline();
        this.concurrency = settings.concurrency();
        this.http = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .proxy(HttpClient.Builder.NO_PROXY)
                .sslContext(trustingNobody())
                .executor(workers)
                .build();
    }

    /**
     * Peers are asked over plain HTTP. Without this the client would read every authority that the virtual machine trusts, which
     * takes a tenth of a second of each start.
     */
    private static SSLContext trustingNobody() {
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, new TrustManager[0], null);
            return context;
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException("this virtual machine has no TLS", e);
        }
    }

    /** What came of asking one peer. */
    sealed interface Answer {}

    /**
     * It counts this, or so it says: whether it is who it should be is for the caller to check.
     *
     * @param at when the answer came, by the clock
     * @param order when it came, by {@link System#nanoTime}
     * @param millis how long it took
     */
    record Counted(Replica.Count count, Instant at, long order, double millis) implements Answer {}

    /** It gave no count; the reason is fit for a person to read. */
    record Failed(String reason) implements Answer {}

    /** Returns an answer for every member, at the latest when the deadline has passed. Never fails. */
    CompletionStage<Map<Member, Answer>> ask(List<Member> members, String counter) {
        List<Member> order = new ArrayList<>(members);
        order.sort(Comparator.comparing(member -> silent.contains(member.address())));
        FanOut fanOut = new FanOut(order, counter);
        running.add(fanOut);
        fanOut.begin();
        return fanOut.done.whenComplete((answers, failure) -> running.remove(fanOut));
    }

    long asked() {
        return asked.sum();
    }

    long failed() {
        return failed.sum();
    }

    /** Withdraws every question. The HTTP client itself ends when nothing refers to it any more: level 17 has no other way. */
    @Override
    public void close() {
        running.forEach(FanOut::expire);
    }

    /** One round of questions. */
    private final class FanOut {

        private final CompletableFuture<Map<Member, Answer>> done = new CompletableFuture<>();
        private final List<Member> order;
        private final String path;
        private final String counter;
        private final Map<Member, Answer> answers = new HashMap<>();
        private final Map<Member, CompletableFuture<?>> waiting = new HashMap<>();
        private int next;
        private boolean starting;
        private @Nullable ScheduledFuture<?> expiry;

        FanOut(List<Member> order, String counter) {
            this.order = order;
            this.counter = counter;
            this.path = "/count/" + encoded(counter);
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

        /** Asks as many as may be asked now. Only one thread at a time does, so that quick answers do not nest calls. */
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
                askOne(member.address(), path, counter, answer);
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
                // Not its failure, so neither counted as one nor held against it in the next round.
                for (; next < order.size(); next++) {
                    answers.put(
                            order.get(next),
                            new Failed("not asked: others used up the " + text(deadline) + " for all peers"));
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
                silent.add(member.address());
            } else {
                silent.remove(member.address());
            }
        }

        private Map<Member, Answer> finish() {
            if (expiry != null) {
                expiry.cancel(false);
            }
            Set<String> addresses = new HashSet<>();
            order.forEach(member -> addresses.add(member.address()));
            silent.retainAll(addresses); // an address that is gone need not be remembered
            return Map.copyOf(answers);
        }
    }

    /** Completes the answer, never exceptionally; if the answer is completed otherwise before, the question is withdrawn. */
    private void askOne(String address, String path, String counter, CompletableFuture<Answer> answer) {
        ScheduledFuture<?> expiry = timer.schedule(
                () -> answer.complete(new Failed("no answer within " + text(timeout))),
                timeout.toNanos(),
                TimeUnit.NANOSECONDS);
        listen(answer, (result, failure) -> expiry.cancel(false));
        if (LITERAL.matcher(address).matches()) {
            send(address, path, counter, answer);
        } else {
            resolver.execute(() -> {
                try {
                    resolve(address);
                    send(address, path, counter, answer);
                } catch (UnknownHostException e) {
                    answer.complete(new Failed(reason(e)));
                }
            });
        }
    }

    private void send(String address, String path, String counter, CompletableFuture<Answer> answer) {
        if (answer.isDone()) {
            return;
        }
        try {
            HttpRequest request = HttpRequest.newBuilder(URI.create("http://" + address + path))
                    .header("Accept", "application/json")
                    .build();
            long start = System.nanoTime();
            CompletableFuture<HttpResponse<byte[]>> exchange =
                    http.sendAsync(request, info -> new BoundedBody(MOST_BYTES));
            listen(exchange, (response, failure) -> {
                double millis = (System.nanoTime() - start) / 1e6;
                answer.complete(failure == null ? read(response, counter, millis) : new Failed(reason(failure)));
            });
            listen(answer, (result, failure) -> exchange.cancel(true));
        } catch (RuntimeException e) {
            answer.complete(new Failed(reason(e)));
        }
    }

    private static <T> void listen(
            CompletionStage<T> stage, BiConsumer<? super T, ? super @Nullable Throwable> listener) {
        stage.whenComplete(listener);
    }

    /** Finds the address of a name on a thread that may block, so that the client then finds it without blocking. */
    private static void resolve(String address) throws UnknownHostException {
        InetAddress.getByName(address.replaceFirst(":[0-9]+$", ""));
    }

    private Answer read(HttpResponse<byte[]> response, String counter, double millis) {
        if (response.statusCode() != 200) {
            return new Failed("answered HTTP " + response.statusCode());
        }
        try {
            JsonNode node = json.readValue(response.body(), JsonNode.class);
            if (node == null || !node.isObject()) {
                return notACount("not a JSON object");
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
            return new Counted(
                    new Replica.Count(instance, counter, count, UUID.fromString(store), incarnation),
                    clock.instant(),
                    System.nanoTime(),
                    millis);
        } catch (IOException | RuntimeException e) {
            return notACount("not the JSON of a count");
        }
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
        return new Failed("answered something that is not its count (" + what + ")");
    }

    private static String reason(Throwable failure) {
        boolean connecting = false;
        String message = null;
        Throwable last = failure;
        for (Throwable cause = failure; cause != null; cause = cause.getCause()) {
            if (cause instanceof TooLarge) {
                return "answered with more than " + MOST_BYTES + " bytes";
            } else if (cause instanceof UnknownHostException) {
                return "its name does not resolve";
            }
            connecting |= cause instanceof ConnectException;
            if (message == null && !(cause instanceof CompletionException)) {
                message = cause.getMessage();
            }
            last = cause;
        }
        if (connecting && (message == null || message.contains("refused"))) {
            return "connection refused";
        }
        return message == null ? last.getClass().getSimpleName() : printable(message);
    }

    static String printable(String text) {
        String clean = text.replaceAll("\\p{C}+", " ").strip();
        return clean.length() <= 250 ? clean : clean.substring(0, 250);
    }

    /** A name as one segment of a path; one of dots alone would be taken for a step upwards. */
    private static String encoded(String name) {
        String encoded = URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20");
        return name.equals(".") || name.equals("..") ? encoded.replace(".", "%2E") : encoded;
    }

    static String text(Duration duration) {
        return duration.toMillis() % 1_000 == 0 ? duration.toSeconds() + " s" : duration.toMillis() + " ms";
    }

    private static final class TooLarge extends IOException {
        private static final long serialVersionUID = 1;
    }

    /** The body of an answer, given up as soon as it grows too large. */
    private static final class BoundedBody implements BodySubscriber<byte[]> {

        private final CompletableFuture<byte[]> body = new CompletableFuture<>();
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        private final int most;
        private Flow.@Nullable Subscription subscription;

        BoundedBody(int most) {
            this.most = most;
        }

        @Override
        public CompletionStage<byte[]> getBody() {
            return body;
        }

        @Override
        public void onSubscribe(Flow.Subscription subscription) {
            this.subscription = subscription;
            subscription.request(Long.MAX_VALUE);
        }

        @Override
        public void onNext(List<ByteBuffer> buffers) {
            for (ByteBuffer buffer : buffers) {
                if (bytes.size() + buffer.remaining() > most) {
                    if (subscription != null) {
                        subscription.cancel();
                    }
                    body.completeExceptionally(new TooLarge());
                    return;
                }
                byte[] chunk = new byte[buffer.remaining()];
                buffer.get(chunk);
                bytes.writeBytes(chunk);
            }
        }

        @Override
        public void onError(Throwable failure) {
            body.completeExceptionally(failure);
        }

        @Override
        public void onComplete() {
            body.complete(bytes.toByteArray());
        }
    }
}
