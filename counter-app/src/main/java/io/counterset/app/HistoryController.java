package io.counterset.app;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.k8s.Replica;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import io.micronaut.http.annotation.QueryValue;
import io.micronaut.serde.annotation.Serdeable;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.UUID;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** How this replica's main counter grew, and its count as a badge. Neither counts a visit. */
@Controller
@Problem.Answers
final class HistoryController {

    private static final MediaType CSV = new MediaType("text/csv; charset=utf-8");
    private static final MediaType SVG = new MediaType("image/svg+xml; charset=utf-8");
    private static final String BLOCKS = "▁▂▃▄▅▆▇█";

    private final History history;
    private final Replica replica;
    private final Counter counter;
    private final Page page;

    HistoryController(History history, Replica replica, CounterStore store, Page page) {
        this.page = page;
        this.history = history;
        this.replica = replica;
        this.counter = store.counter(replica.mainCounter());
    }

    /**
     * The history of a replica's main counter.
     *
     * @param unit how long a bucket is
     * @param lastMinute how much the counter grew in the last 60 seconds
     * @param buckets oldest first; the last one is the current one
     */
    @Serdeable
    record Answer(
            String instance,
            String counter,
            UUID store,
            History.Unit unit,
            long lastMinute,
            List<History.Bucket> buckets) {}

    @Get("/history")
    @Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_CSV, MediaType.TEXT_PLAIN, MediaType.ALL
    }) // Negotiation chooses
    @Operation(
            summary = "Returns how much the main counter grew on this replica, bucket by bucket",
            description = "A bucket in which this replica did not run has no count. Plain text is a sparkline, HTML the"
                    + " section of the page, with all three lengths.")
    @ApiResponse(
            responseCode = "200",
            description = "The last 180 minutes, 168 hours or 730 days",
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(implementation = Answer.class)),
                @Content(mediaType = MediaType.TEXT_CSV, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    HttpResponse<?> history(
            HttpRequest<?> request,
            @QueryValue
                    @Nullable
                    @Parameter(
                            description = "The length of a bucket; minute if it is not given",
                            schema = @Schema(allowableValues = {"minute", "hour", "day"}))
                    String unit) {
        Query.allow(request, "unit");
        MediaType type = Negotiation.best(request, Negotiation.JSON, CSV, Negotiation.TEXT, Negotiation.HTML);
        History.Unit chosen = unit(unit);
        if (type.equals(Negotiation.HTML)) {
            return Negotiation.fresh(type, page.history(history))
                    .header("Content-Security-Policy", Page.FRAGMENT_POLICY);
        }
        List<History.Bucket> buckets = history.buckets(chosen);
        if (type.equals(CSV)) {
            return Negotiation.fresh(type, csv(buckets));
        } else if (type.equals(Negotiation.TEXT)) {
            return Negotiation.fresh(type, sparkline(chosen, buckets));
        }
        return Negotiation.fresh(
                type,
                new Answer(
                        replica.instance(),
                        counter.name(),
                        replica.store().identity().id(),
                        chosen,
                        history.lastMinute(),
                        buckets));
    }

    private static History.Unit unit(@Nullable String name) {
        if (name == null) {
            return History.Unit.MINUTE;
        }
        for (History.Unit unit : History.Unit.values()) {
            if (unit.toString().equals(name)) {
                return unit;
            }
        }
        throw new Problem.Refusal(
                Problem.Type.BAD_REQUEST, "unit: '" + name + "' is invalid; expected minute, hour or day");
    }

    private static String csv(List<History.Bucket> buckets) {
        StringBuilder lines = new StringBuilder("start,count,covered_seconds,marks\r\n"); // RFC 4180
        for (History.Bucket bucket : buckets) {
            lines.append(bucket.start())
                    .append(',')
                    .append(bucket.count() == null ? "" : bucket.count())
                    .append(',')
                    .append(bucket.coveredSeconds())
                    .append(',')
                    .append(bucket.marks().stream().map(Object::toString).collect(Collectors.joining(" ")))
                    .append("\r\n");
        }
        return lines.toString();
    }

    /** Blocks of eight heights, a dot for a gap, and an exclamation mark for a count that is in doubt. */
    private static String sparkline(History.Unit unit, List<History.Bucket> buckets) {
        long most = buckets.stream()
                .map(History.Bucket::count)
                .filter(Objects::nonNull)
                .mapToLong(Long::longValue)
                .max()
                .orElse(0);
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < buckets.size(); i += unit.line) {
            lines.append(buckets.get(i).start()).append(' ');
            for (History.Bucket bucket : buckets.subList(i, Math.min(i + unit.line, buckets.size()))) {
                Long count = bucket.count();
                lines.append(
                        !bucket.marks().isEmpty()
                                ? '!'
                                : count == null ? '·' : BLOCKS.charAt(most == 0 ? 0 : (int) (7.0 * count / most)));
            }
            lines.append('\n');
        }
        return lines.append(String.format(Locale.ROOT, "one mark for each %s, at most %,d in one\n", unit, most))
                .toString();
    }

    @Get("/badge.svg")
    @Produces("image/svg+xml")
    @Operation(
            summary = "Returns this replica's main count as a badge",
            description = "An SVG image for a README or a dashboard. Never counts.")
    @ApiResponse(
            responseCode = "200",
            description = "The badge",
            content = @Content(mediaType = "image/svg+xml", schema = @Schema(ref = "#/components/schemas/Text")))
    HttpResponse<?> badge(HttpRequest<?> request) {
        Negotiation.best(request, SVG);
        String label = Page.escaped(counter.name());
        String count = Page.number(counter.value());
        int left = width(counter.name());
        int right = width(count);
        return Negotiation.fresh(
                        SVG,
                        String.format(
                                Locale.ROOT,
                                """
                                <svg xmlns="http://www.w3.org/2000/svg" width="%1$d" height="20" role="img" aria-label="%2$s: %3$s">
                                <title>%2$s: %3$s</title>
                                <rect width="%1$d" height="20" rx="3" fill="#444"/>
                                <path d="M%4$d 0h%6$d a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-%6$dz" fill="#1a7f37"/>
                                <g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
                                <text x="%5$d" y="14" textLength="%7$d">%2$s</text>
                                <text x="%8$d" y="14" textLength="%9$d">%3$s</text>
                                </g>
                                </svg>
                                """,
                                left + right,
                                label,
                                count,
                                left,
                                left / 2,
                                right - 3,
                                left - 12,
                                left + right / 2,
                                right - 12))
                .header("X-Content-Type-Options", "nosniff");
    }

    /** Returns the width of a half of the badge: about seven pixels a character, wide ones twice that, and a margin. */
    private static int width(String text) {
        return 12 + text.codePoints().map(c -> c < 0x1100 ? 7 : 13).sum();
    }
}
