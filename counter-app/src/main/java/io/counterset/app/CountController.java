// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import com.fasterxml.jackson.annotation.JsonInclude;
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
import io.micronaut.http.server.netty.NettyHttpRequest;
import io.micronaut.serde.annotation.Serdeable;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.enums.ParameterIn;
import io.swagger.v3.oas.annotations.headers.Header;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;

/** This replica's own counts. */
@Controller
@Problem.Answers
@Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_PLAIN, MediaType.ALL}) // Negotiation chooses
final class CountController {

    private static final String BY = "by";
    private static final int DEFAULT_PAGE_SIZE = 100;
    private static final int MAX_PAGE_SIZE = 1_000;

    private final CounterStore store;
    private final Replica replica;
    private final Listing listing;
    private final NewCounters newCounters;
    private final Origins origins;
    private final ClientAddress client;
    private final Counter main;
    private final long maxAmount;
    private final long maxRequestSize;

    CountController(
            CounterStore store,
            Replica replica,
            Listing listing,
            NewCounters newCounters,
            Origins origins,
            CounterSettings settings,
            HttpServerConfiguration server) {
        this.listing = listing;
        this.newCounters = newCounters;
        this.origins = origins;
        this.client = new ClientAddress(settings.rate().source());
        this.maxAmount = settings.maxAmount();
        this.maxRequestSize = server.getMaxRequestSize();
        this.store = store;
        this.replica = replica;
        this.main = store.counter(replica.mainCounter());
    }

    /**
     * The result of an increment.
     *
     * @param instance the replica that counted it, the only one that knows its idempotency key
     * @param counter the counter
     * @param count the total that the increment produced
     * @param store the identity of the replica's store
     * @param incarnation how many times that store has been opened
     * @param replayed whether it had already been counted, so that this request added nothing
     */
    @Schema(name = "Increment")
    @Serdeable
    record Added(String instance, String counter, long count, UUID store, long incarnation, boolean replayed) {}

    /**
     * A page of this replica's counters, in the order of their names.
     *
     * @param next the relative URL of the next page; absent on the last one
     */
    @Schema(name = "Counters")
    @Serdeable
    record Page(
            String instance,
            UUID store,
            long incarnation,
            @JsonInclude(JsonInclude.Include.ALWAYS) List<Entry> counters,
            @Nullable String next) {

        /** A counter and its durable count. */
        @Schema(name = "CountersEntry")
        @Serdeable
        record Entry(String counter, long count) {}
    }

    /** Declares in the OpenAPI document what reads of one counter take and answer. */
    @Parameter(name = Demanded.HEADER, in = ParameterIn.HEADER, ref = "#/components/parameters/Instance")
    @ApiResponse(
            responseCode = "200",
            description = "The durable count",
            headers = {
                @Header(name = Demanded.HEADER, ref = "#/components/headers/Instance"),
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(ref = "#/components/schemas/Count")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    @Retention(RetentionPolicy.CLASS)
    @Target(ElementType.METHOD)
    private @interface ReadOperation {}

    /** Declares in the OpenAPI document what adds take and answer. */
    @Parameter(name = BY, in = ParameterIn.QUERY, ref = "#/components/parameters/By")
    @Parameter(name = IdempotencyKey.HEADER, in = ParameterIn.HEADER, ref = "#/components/parameters/IdempotencyKey")
    @Parameter(name = Demanded.HEADER, in = ParameterIn.HEADER, ref = "#/components/parameters/Instance")
    @ApiResponse(
            responseCode = "200",
            headers = {
                @Header(name = Demanded.HEADER, ref = "#/components/headers/Instance"),
                @Header(name = IdempotencyKey.REPLAYED_HEADER, ref = "#/components/headers/Replayed"),
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            description = "The new count; a replay is marked in the body and by the header Idempotency-Replayed",
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(implementation = Added.class)),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    @Retention(RetentionPolicy.CLASS)
    @Target(ElementType.METHOD)
    private @interface AddOperation {}

    @Get("/count")
    @Right.Needed(Right.COUNT)
    @Operation(
            summary = "Returns the main counter's count on this replica",
            description = "Does not count. Plain text is the bare number.")
    @ReadOperation
    HttpResponse<?> count(HttpRequest<?> request) {
        CounterName.refuseEmpty(request);
        return count(request, replica.mainCounter());
    }

    @Get("/count/" + CounterName.SEGMENT)
    @Right.Needed(Right.COUNT)
    @Operation(
            summary = "Returns a counter's count on this replica",
            description = "A counter that was never added to has the count 0.",
            parameters = @Parameter(name = "name", in = ParameterIn.PATH, ref = "#/components/parameters/Name"))
    @ReadOperation
    HttpResponse<?> countOf(HttpRequest<?> request) {
        return count(request, counterOf(request).name());
    }

    private HttpResponse<?> count(HttpRequest<?> request, String counter) {
        Query.allow(request);
        Demanded.require(request, replica.instance());
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        Replica.Count count = replica.count(counter);
        return answer(type, count, count.count()).header(Demanded.HEADER, Demanded.encode(replica.instance()));
    }

    @Post("/count")
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Adds to the main counter of this replica",
            description =
                    "Answers once the new count is durable, unless the replica is configured to flush periodically.")
    @AddOperation
    CompletionStage<HttpResponse<?>> add(HttpRequest<?> request) {
        CounterName.refuseEmpty(request);
        return add(request, main);
    }

    @Post("/count/" + CounterName.SEGMENT)
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Adds to a counter of this replica",
            description = "The first add creates it.",
            parameters = @Parameter(name = "name", in = ParameterIn.PATH, ref = "#/components/parameters/Name"))
    @AddOperation
    CompletionStage<HttpResponse<?>> addTo(HttpRequest<?> request) {
        return add(request, counterOf(request));
    }

    private CompletionStage<HttpResponse<?>> add(HttpRequest<?> request, Counter counter) {
        refuseBody(request);
        origins.refuseForeign(request);
        Demanded.require(request, replica.instance());
        long amount = amount(request);
        String key = IdempotencyKey.of(request.getHeaders());
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        Executor eventLoop = eventLoop(request);
        if (key == null) {
            return newCounters
                    .add(counter, () -> counter.addAsync(amount))
                    .handleAsync(
                            (total, failure) -> failure == null
                                    ? added(type, counter, total, false)
                                    : Problem.ofAdd(failure).response(),
                            eventLoop);
        }
        return newCounters
                .add(counter, () -> counter.addOnceAsync(amount, key, client.of(request)))
                .handleAsync(
                        (result, failure) -> failure == null
                                ? added(type, counter, result.total(), result.replayed())
                                : Problem.ofAdd(failure).response(),
                        eventLoop);
    }

    /**
     * Returns the executor that continues a request once its add is durable. The thread that
     * completes the add must not, because it has the next commit to do.
     */
    static Executor eventLoop(HttpRequest<?> request) {
        return request instanceof NettyHttpRequest<?> netty
                ? netty.getChannelHandlerContext().executor()
                : Runnable::run;
    }

    @Get("/counts")
    @Operation(
            summary = "Lists this replica's counters, ordered by name",
            description = "Plain text has one line per counter: its count and name.")
    @ApiResponse(
            responseCode = "200",
            description = "One page; the header Link and, in JSON, next have the URL of the next one",
            headers = {
                @Header(name = "Link", ref = "#/components/headers/Link"),
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(implementation = Page.class)),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> counts(
            HttpRequest<?> request,
            @QueryValue @Nullable @Parameter(description = "The name after which the page begins") String after,
            @QueryValue
                    @Nullable
                    @Parameter(description = "The maximum number of counters, 1 to 1000; default 100")
                    @Schema(type = "integer", minimum = "1", maximum = "1000")
                    String limit) {
        Query.allow(request, "after", "limit");
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        int size = limit == null ? DEFAULT_PAGE_SIZE : limit.matches("[0-9]{1,4}") ? Integer.parseInt(limit) : 0;
        if (size < 1 || size > MAX_PAGE_SIZE) {
            throw new Problem.Refusal(
                    Problem.Type.BAD_PAGE,
                    "limit: '" + limit + "' is invalid; expected a whole number from 1 to " + MAX_PAGE_SIZE);
        }
        return listing.names().thenApply(names -> page(type, names, after, size));
    }

    private HttpResponse<?> page(MediaType type, List<String> names, @Nullable String after, int size) {
        int found = after == null ? -1 : Collections.binarySearch(names, after);
        int from = found < 0 && after != null ? -found - 1 : found + 1;
        int to = Math.min(names.size(), from + size);
        List<Page.Entry> entries = new ArrayList<>(to - from);
        for (String name : names.subList(from, to)) {
            entries.add(new Page.Entry(name, store.counter(name).value()));
        }
        String next = to == names.size() // relative, so that it is valid under any prefix
                ? null
                : "counts?limit=" + size + "&after=" + URLEncoder.encode(names.get(to - 1), StandardCharsets.UTF_8);
        StoreIdentity identity = store.identity();
        MutableHttpResponse<?> response = type.equals(Negotiation.TEXT)
                ? Negotiation.uncached(type, lines(entries))
                : Negotiation.uncached(
                        type, new Page(replica.instance(), identity.id(), identity.incarnation(), entries, next));
        return next == null ? response : response.header(HttpHeaders.LINK, "<" + next + ">; rel=\"next\"");
    }

    private static String lines(List<Page.Entry> entries) {
        StringBuilder lines = new StringBuilder();
        for (Page.Entry entry : entries) {
            lines.append(entry.count())
                    .append('\t')
                    .append(Replica.escaped(entry.counter()))
                    .append('\n');
        }
        return lines.toString();
    }

    private HttpResponse<?> added(MediaType type, Counter counter, long total, boolean replayed) {
        StoreIdentity identity = store.identity();
        MutableHttpResponse<?> response = answer(
                type,
                new Added(replica.instance(), counter.name(), total, identity.id(), identity.incarnation(), replayed),
                total);
        response.header(Demanded.HEADER, Demanded.encode(replica.instance()));
        return replayed ? response.header(IdempotencyKey.REPLAYED_HEADER, "true") : response;
    }

    private static MutableHttpResponse<?> answer(MediaType type, Object json, long number) {
        return Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? number + "\n" : json);
    }

    private Counter counterOf(HttpRequest<?> request) {
        try {
            return store.counter(CounterName.of(request));
        } catch (IllegalArgumentException e) {
            throw new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, e.getMessage());
        }
    }

    /**
     * Returns the amount to add. It is parsed here because binding by the framework would cost each
     * request much more.
     */
    private long amount(HttpRequest<?> request) {
        String by = Query.one(request, BY, Problem.Type.BAD_AMOUNT);
        Query.allow(request, BY);
        if (by == null) {
            return 1;
        }
        try {
            // Long.parseLong alone would also accept digits of other scripts, and a sign.
            long amount = by.chars().allMatch(c -> c >= '0' && c <= '9') ? Long.parseLong(by) : 0;
            if (amount >= 1 && amount <= maxAmount) {
                return amount;
            }
        } catch (NumberFormatException e) {
            // Empty or too large: refused below.
        }
        throw new Problem.Refusal(
                Problem.Type.BAD_AMOUNT, "by: '" + by + "' is invalid; expected a whole number from 1 to " + maxAmount);
    }

    /** Refuses a body rather than ignoring it, since it may be meant as the amount. */
    private void refuseBody(HttpRequest<?> request) {
        if (request.getContentLength() > maxRequestSize) {
            throw new Problem.Refusal(
                    Problem.Type.TOO_LARGE, request.getContentLength() + " bytes; expected at most " + maxRequestSize);
        }
        if (request.getContentLength() > 0 || request.getHeaders().contains(HttpHeaders.TRANSFER_ENCODING)) {
            throw new Problem.Refusal(Problem.Type.BODY_NOT_TAKEN, "send the amount in the query, as in ?by=2");
        }
    }
}
