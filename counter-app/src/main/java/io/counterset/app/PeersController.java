package io.counterset.app;

import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.counterset.k8s.Replica;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.RejectedExecutionException;

/** What every replica counts. */
@Controller
@Produces(MediaType.ALL)
final class PeersController {

    private final Peers peers;
    private final Replica replica;

    PeersController(Peers peers, Replica replica) {
        this.peers = peers;
        this.replica = replica;
    }

    @Get("/peers")
    CompletionStage<HttpResponse<?>> peers(HttpRequest<?> request) {
        return report(request, replica.mainCounter());
    }

    @Get("/peers/" + CounterName.SEGMENT)
    CompletionStage<HttpResponse<?>> peersOf(HttpRequest<?> request) {
        return report(request, CounterName.of(request));
    }

    private CompletionStage<HttpResponse<?>> report(HttpRequest<?> request, String counter) {
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        CompletionStage<PeersReport> report;
        try {
            report = peers.report(counter);
        } catch (IllegalArgumentException e) {
            throw new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, e.getMessage());
        }
        return report.handle((found, failure) -> failure == null
                ? Negotiation.fresh(type, type.equals(Negotiation.TEXT) ? found.toTable() : found)
                : problem(failure).response());
    }

    private static Problem problem(Throwable failure) {
        return failure instanceof RejectedExecutionException
                ? Problem.of(Problem.Type.BUSY, failure.getMessage())
                : Problem.of(Problem.Type.INTERNAL_ERROR, null);
    }
}
