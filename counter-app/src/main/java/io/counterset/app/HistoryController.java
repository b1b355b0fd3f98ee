// SPDX-License-Identifier: Apache-2.0
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
import io.swagger.v3.oas.annotations.headers.Header;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.CompletionStage;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The history of this replica's main counter, and its count as a badge. Neither counts a visit. */
@Controller
@Problem.Answers
final class HistoryController {

    private static final MediaType CSV = new MediaType("text/csv; charset=utf-8");
    private static final MediaType SVG = new MediaType("image/svg+xml; charset=utf-8");
    private static final String BLOCKS = "▁▂▃▄▅▆▇█";

    private final History history;
    private final Histories histories;
    private final Replica replica;
    private final Counter counter;
    private final Page page;

    HistoryController(History history, Histories histories, Replica replica, CounterStore store, Page page) {
        this.histories = histories;
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
    @Schema(name = "ReplicaHistory")
    @Serdeable
    record Answer(
            String instance,
            String counter,
            UUID store,
            History.Unit unit,
            long lastMinute,
            List<History.Bucket> buckets) {}

    @Get("/history")
    @Right.Needed(Right.COUNT)
    @Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_CSV, MediaType.TEXT_PLAIN, MediaType.TEXT_HTML, MediaType.ALL
    }) // Negotiation chooses
    @Operation(
            summary = "Returns how much this replica's main counter grew in each bucket",
            description =
                    "A bucket in which this replica did not run has no count. Plain text is a sparkline. HTML is the"
                            + " section of the page, with buckets of all three lengths.")
    @ApiResponse(
            responseCode = "200",
            description = "The last 180 minutes, 168 hours or 730 days",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
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
                            description = "The length of a bucket; default minute",
                            schema = @Schema(allowableValues = {"minute", "hour", "day"}))
                    String unit) {
        Query.allow(request, "unit");
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, CSV, Negotiation.TEXT, Negotiation.HTML);
        History.Unit chosen = unit(unit);
        if (type.equals(Negotiation.HTML)) {
            return Negotiation.fragment(page.history(history));
        }
        List<History.Bucket> buckets = history.buckets(chosen);
        if (type.equals(CSV)) {
            return Negotiation.uncached(type, csv(buckets));
        } else if (type.equals(Negotiation.TEXT)) {
            return Negotiation.uncached(type, sparkline(chosen, buckets));
        }
        return Negotiation.uncached(
                type,
                new Answer(
                        replica.instance(),
                        counter.name(),
                        replica.store().identity().id(),
                        chosen,
                        history.lastMinute(),
                        buckets));
    }

    @Get("/peers/history")
    @Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_PLAIN, MediaType.TEXT_HTML, MediaType.ALL
    }) // Negotiation chooses
    @Operation(
            summary = "Returns how much the main counter grew on all replicas in each bucket",
            description = "Asks every answering replica for its history, at most once every five seconds however many"
                    + " clients ask. A replica whose history is unknown is listed with the reason. Plain text has a sparkline of all"
                    + " replicas and one of each. HTML is the section of the page, with buckets of all three lengths.")
    @ApiResponse(
            responseCode = "200",
            description = "The last 180 minutes, 168 hours or 730 days",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(implementation = Histories.Report.class)),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> peersHistory(
            HttpRequest<?> request,
            @QueryValue
                    @Nullable
                    @Parameter(
                            description = "The length of a bucket; default minute",
                            schema = @Schema(allowableValues = {"minute", "hour", "day"}))
                    String unit) {
        CounterName.refuseEmpty(request);
        Query.allow(request, "unit");
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT, Negotiation.HTML);
        History.Unit chosen = unit(unit);
        if (type.equals(Negotiation.HTML)) {
            return PeersController.answer(
                    request, histories.all(), found -> Negotiation.fragment(page.histories(found)));
        }
        return PeersController.answer(
                request,
                histories.of(chosen),
                found -> Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? sparklines(found) : found));
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

    /** A bucket of a sparkline. */
    private record Point(Instant start, @Nullable Long count, boolean isMarked) {}

    private static String sparkline(History.Unit unit, List<History.Bucket> buckets) {
        return lines(
                unit,
                buckets.stream()
                        .map(bucket -> new Point(
                                bucket.start(), bucket.count(), !bucket.marks().isEmpty()))
                        .toList());
    }

    /**
     * Returns a sparkline of all replicas together, then a line for each with its latest buckets,
     * all on one scale.
     */
    private static String sparklines(Histories.Report report) {
        StringBuilder text = new StringBuilder(String.format(
                Locale.ROOT,
                "%s: %s%,d in the last minute, %d of %d %s answered%n\n",
                Replica.escaped(report.counter()),
                report.complete() ? "" : "at least ",
                report.lastMinute(),
                report.answered(),
                report.expected(),
                report.expected() == 1 ? "replica" : "replicas"));
        List<Point> all = report.buckets().stream()
                .map(bucket -> new Point(
                        bucket.start(), bucket.count(), !bucket.marks().isEmpty()))
                .toList();
        text.append(lines(report.unit(), all)).append('\n');
        List<Histories.Line> replicas = report.replicas();
        long most = most(replicas.stream()
                .map(Histories.Line::counts)
                .filter(Objects::nonNull)
                .flatMap(List::stream));
        int width =
                replicas.stream().mapToInt(line -> line.label().length()).max().orElse(0);
        for (Histories.Line line : replicas) {
            List<@Nullable Long> counts = line.counts();
            StringBuilder shown = new StringBuilder();
            if (counts == null) {
                shown.append(line.state()).append(": ").append(line.reason());
            } else {
                counts.subList(Math.max(0, counts.size() - report.unit().line), counts.size())
                        .forEach(count -> shown.append(block(count, most)));
                shown.append(String.format(Locale.ROOT, " %,d in the last minute", line.lastMinute()));
            }
            text.append(String.format(Locale.ROOT, "%-" + Math.max(1, width) + "s  %s\n", line.label(), shown));
        }
        return text.append(String.format(
                        Locale.ROOT,
                        "the last %d %ss of each, at most %,d in one\n",
                        report.unit().line,
                        report.unit(),
                        most))
                .toString();
    }

    /**
     * Returns blocks of eight heights, with a dot for a gap and an exclamation mark for a doubtful
     * count.
     */
    private static String lines(History.Unit unit, List<Point> points) {
        long most = most(points.stream().map(Point::count));
        StringBuilder lines = new StringBuilder();
        for (int i = 0; i < points.size(); i += unit.line) {
            lines.append(points.get(i).start()).append(' ');
            for (Point point : points.subList(i, Math.min(i + unit.line, points.size()))) {
                lines.append(point.isMarked() ? '!' : block(point.count(), most));
            }
            lines.append('\n');
        }
        return lines.append(String.format(Locale.ROOT, "one mark for each %s, at most %,d in one\n", unit, most))
                .toString();
    }

    private static long most(Stream<@Nullable Long> counts) {
        return counts.filter(Objects::nonNull).mapToLong(Long::longValue).max().orElse(0);
    }

    private static char block(@Nullable Long count, long most) {
        return count == null ? '·' : BLOCKS.charAt(most == 0 ? 0 : (int) (7.0 * count / most));
    }

    @Get("/badge.svg")
    @Produces("image/svg+xml")
    @Operation(
            summary = "Returns this replica's main count as a badge",
            description = "An SVG image for a README or a dashboard. Does not count.")
    @ApiResponse(
            responseCode = "200",
            description = "The badge",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = @Content(mediaType = "image/svg+xml", schema = @Schema(type = "string", format = "binary")))
    HttpResponse<?> badge(HttpRequest<?> request) {
        Negotiation.negotiate(request, SVG);
        String label = Page.escaped(counter.name());
        String count = Page.number(counter.value());
        int left = width(counter.name());
        int right = width(count);
        return Negotiation.uncached(
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

    /**
     * Returns the width of one half of the badge: about 7 pixels per character, 13 for a wide one,
     * and a margin.
     */
    private static int width(String text) {
        return 12 + text.codePoints().map(c -> c < 0x1100 ? 7 : 13).sum();
    }
}
