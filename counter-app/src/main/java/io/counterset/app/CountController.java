package io.counterset.app;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.StoreIdentity;
import io.counterset.k8s.Replica;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.http.annotation.Consumes;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Post;
import io.micronaut.http.annotation.Produces;
import io.micronaut.http.annotation.QueryValue;
import io.micronaut.http.server.HttpServerConfiguration;
import io.micronaut.scheduling.TaskExecutors;
import io.micronaut.scheduling.annotation.ExecuteOn;
import io.micronaut.serde.annotation.Serdeable;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import org.jspecify.annotations.Nullable;

/** This replica's own counts. */
@Controller
@Produces(MediaType.ALL)
final class CountController {

    private static final int MAX_PAGE = 1_000;

    private final CounterStore store;
    private final Replica replica;
    private final Counter main;
    private final long maxRequestSize;

    CountController(CounterStore store, Replica replica, HttpServerConfiguration server) {
        this.maxRequestSize = server.getMaxRequestSize();
        this.store = store;
        this.replica = replica;
        this.main = store.counter(replica.mainCounter());
    }

    /**
     * What an increment came to.
     *
     * @param instance the replica that counted it, and the only one that knows its idempotency key
     * @param counter the counter
     * @param count the total that the increment produced
     * @param store the identity of the replica's store
     * @param incarnation how often that store has been opened
     * @param replayed whether it had happened before, so that this request added nothing
     */
    @Serdeable
    record Added(String instance, String counter, long count, UUID store, long incarnation, boolean replayed) {}

    /**
     * A page of this replica's counters, in the order of their names.
     *
     * @param next where the next page is; absent on the last one
     */
    @Serdeable
    record Page(
            String instance,
            UUID store,
            long incarnation,
            List<Entry> counters,
            @Nullable String next) {

        /** A counter and its durable count. */
        @Serdeable
        record Entry(String counter, long count) {}
    }

    @Get("/count")
    HttpResponse<?> count(HttpRequest<?> request) {
        return count(request, replica.mainCounter());
    }

    @Get("/count/" + CounterName.SEGMENT)
    HttpResponse<?> countOf(HttpRequest<?> request) {
        return count(request, counterOf(request).name());
    }

    private HttpResponse<?> count(HttpRequest<?> request, String counter) {
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        Replica.Count count = replica.count(counter);
        return answer(type, count, count.count());
    }

    @Post("/count")
    @Consumes(MediaType.ALL)
    CompletionStage<HttpResponse<?>> add(HttpRequest<?> request, @QueryValue @Nullable String by) {
        return add(request, main, by);
    }

    @Post("/count/" + CounterName.SEGMENT)
    @Consumes(MediaType.ALL)
    CompletionStage<HttpResponse<?>> addTo(HttpRequest<?> request, @QueryValue @Nullable String by) {
        return add(request, counterOf(request), by);
    }

    private CompletionStage<HttpResponse<?>> add(HttpRequest<?> request, Counter counter, @Nullable String by) {
        refuseBody(request);
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        long amount = amount(by);
        String key = IdempotencyKey.of(request.getHeaders());
        if (key == null) {
            return counter.addAsync(amount)
                    .handle((total, failure) -> failure == null
                            ? added(type, counter, total, false)
                            : Problem.ofAdd(failure).response());
        }
        return counter.addAsync(amount, key)
                .handle((result, failure) -> failure == null
                        ? added(type, counter, result.total(), result.replayed())
                        : Problem.ofAdd(failure).response());
    }

    @Get("/counts")
    @ExecuteOn(TaskExecutors.BLOCKING)
    HttpResponse<?> counts(
            HttpRequest<?> request, @QueryValue @Nullable String after, @QueryValue @Nullable String limit) {
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        int size = limit == null ? 100 : limit.matches("[0-9]{1,4}") ? Integer.parseInt(limit) : 0;
        if (size < 1 || size > MAX_PAGE) {
            throw new Problem.Refusal(Problem.Type.BAD_PAGE, "limit must be a whole number from 1 to " + MAX_PAGE);
        }
        SortedMap<String, Long> rest = store.snapshot();
        if (after != null) {
            rest = rest.tailMap(after + '\0');
        }
        List<Page.Entry> entries = rest.entrySet().stream()
                .limit(size)
                .map((Map.Entry<String, Long> e) -> new Page.Entry(e.getKey(), e.getValue()))
                .toList();
        String next = rest.size() <= size
                ? null
                : "/counts?limit=" + size + "&after="
                        + URLEncoder.encode(entries.get(size - 1).counter(), StandardCharsets.UTF_8);
        StoreIdentity identity = store.identity();
        MutableHttpResponse<?> response = type.equals(Negotiation.TEXT)
                ? Negotiation.fresh(type, lines(entries))
                : Negotiation.fresh(
                        type, new Page(replica.instance(), identity.id(), identity.incarnation(), entries, next));
        return next == null ? response : response.header(HttpHeaders.LINK, "<" + next + ">; rel=\"next\"");
    }

    private static String lines(List<Page.Entry> entries) {
        StringBuilder lines = new StringBuilder();
        for (Page.Entry entry : entries) {
            lines.append(entry.count()).append('\t').append(entry.counter()).append('\n');
        }
        return lines.toString();
    }

    private HttpResponse<?> added(MediaType type, Counter counter, long total, boolean replayed) {
        StoreIdentity identity = store.identity();
        MutableHttpResponse<?> response = answer(
                type,
                new Added(replica.instance(), counter.name(), total, identity.id(), identity.incarnation(), replayed),
                total);
        return replayed ? response.header(IdempotencyKey.REPLAYED_HEADER, "true") : response;
    }

    private static MutableHttpResponse<?> answer(MediaType type, Object json, long number) {
        return Negotiation.fresh(type, type.equals(Negotiation.TEXT) ? number + "\n" : json);
    }

    private Counter counterOf(HttpRequest<?> request) {
        try {
            return store.counter(CounterName.of(request));
        } catch (IllegalArgumentException e) {
            throw new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, e.getMessage());
        }
    }

    private static long amount(@Nullable String by) {
        if (by == null) {
            return 1;
        }
        try {
            long amount = by.startsWith("+") ? 0 : Long.parseLong(by);
            if (amount >= 1) {
                return amount;
            }
        } catch (NumberFormatException e) {
            // Not a number: refused below.
        }
        throw new Problem.Refusal(
                Problem.Type.BAD_AMOUNT,
                "by must be a whole number from 1 to " + Long.MAX_VALUE + ", but is '" + by + "'");
    }

    /** A body is refused rather than ignored: it may well say what to add. */
    private void refuseBody(HttpRequest<?> request) {
        if (request.getContentLength() > maxRequestSize) {
            throw new Problem.Refusal(
                    Problem.Type.TOO_LARGE, request.getContentLength() + " bytes, and at most " + maxRequestSize);
        }
        if (request.getContentLength() > 0 || request.getHeaders().contains(HttpHeaders.TRANSFER_ENCODING)) {
            throw new Problem.Refusal(Problem.Type.BODY_NOT_TAKEN, "the amount goes into the query, as in ?by=2");
        }
    }
}
