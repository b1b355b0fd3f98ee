// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.core.convert.exceptions.ConversionErrorException;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpMethod;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.HttpStatus;
import io.micronaut.http.MutableHttpHeaders;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.http.codec.CodecException;
import io.micronaut.http.server.exceptions.ExceptionHandler;
import io.micronaut.http.server.exceptions.response.Error;
import io.micronaut.http.server.exceptions.response.ErrorContext;
import io.micronaut.http.server.exceptions.response.ErrorResponseProcessor;
import io.micronaut.http.server.netty.NettyHttpRequest;
import io.netty.handler.codec.http.TooLongHttpHeaderException;
import io.netty.handler.codec.http.TooLongHttpLineException;
import jakarta.inject.Singleton;
import org.jspecify.annotations.Nullable;

/**
 * Gives every refusal the same form, whether a controller or the HTTP server refused the request.
 */
@Singleton
final class ProblemResponses
        implements ErrorResponseProcessor<Problem>, ExceptionHandler<Problem.Refusal, HttpResponse<?>> {

    @Override
    @SuppressWarnings("rawtypes")
    public HttpResponse<?> handle(HttpRequest request, Problem.Refusal refusal) {
        return refusal.problem().response();
    }

    @Override
    @SuppressWarnings("unchecked")
    public MutableHttpResponse<Problem> processResponse(ErrorContext context, MutableHttpResponse<?> response) {
        HttpRequest<?> request = context.getRequest();
        if (request.getMethod() == HttpMethod.OPTIONS && response.status() == HttpStatus.METHOD_NOT_ALLOWED) {
            return (MutableHttpResponse<Problem>) response; // a filter turns it into the list of methods
        }
        Problem.Type type = tooLong(request);
        if (type == null) {
            type = typeOf(response.status());
        }
        if (context.getRootCause()
                .filter(ConversionErrorException.class::isInstance)
                .isPresent()) {
            type = Problem.Type.NOT_FOUND; // only the last segment of a health path is ever converted
        }
        if (type == Problem.Type.METHOD_NOT_ALLOWED) {
            MutableHttpHeaders headers = response.getHeaders();
            headers.findFirst(HttpHeaders.ALLOW)
                    .ifPresent(methods -> headers.set(HttpHeaders.ALLOW, methods + "," + HttpMethod.OPTIONS));
        }
        if (type == Problem.Type.INTERNAL_ERROR
                && context.getRootCause()
                        .filter(CodecException.class::isInstance)
                        .isPresent()) {
            return Problem.outcomeUnknown(type, null)
                    .fill(response); // encoding the answer failed, after the request was done
        }
        return Problem.of(type, detail(type, context)).fill(response);
    }

    /** Returns the problem of a request of which a part was too long for the decoder, or null. */
    private static Problem.@Nullable Type tooLong(HttpRequest<?> request) {
        Throwable cause = request instanceof NettyHttpRequest<?> netty
                ? netty.getNativeRequest().decoderResult().cause()
                : null;
        return cause instanceof TooLongHttpLineException
                ? Problem.Type.URI_TOO_LONG
                : cause instanceof TooLongHttpHeaderException ? Problem.Type.HEADERS_TOO_LARGE : null;
    }

    private static Problem.Type typeOf(HttpStatus status) {
        return switch (status) {
            case FORBIDDEN -> Problem.Type.CROSS_ORIGIN;
            case NOT_FOUND -> Problem.Type.NOT_FOUND;
            case METHOD_NOT_ALLOWED -> Problem.Type.METHOD_NOT_ALLOWED;
            case NOT_ACCEPTABLE -> Problem.Type.NOT_ACCEPTABLE;
            case REQUEST_ENTITY_TOO_LARGE -> Problem.Type.TOO_LARGE;
            case UNSUPPORTED_MEDIA_TYPE -> Problem.Type.BODY_NOT_TAKEN;
            default -> status.getCode() < 500 ? Problem.Type.BAD_REQUEST : Problem.Type.INTERNAL_ERROR;
        };
    }

    private static @Nullable String detail(Problem.Type type, ErrorContext context) {
        return switch (type) {
            case NOT_FOUND, METHOD_NOT_ALLOWED ->
                context.getRequest().getMethodName() + " "
                        + context.getRequest().getPath();
            case INTERNAL_ERROR -> null; // the details are in the log
            case URI_TOO_LONG, HEADERS_TOO_LARGE -> null; // the decoder's message adds nothing
            default ->
                context.getErrors().stream().findFirst().map(Error::getMessage).orElse(null);
        };
    }
}
