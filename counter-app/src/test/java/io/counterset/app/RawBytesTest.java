// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.json.JsonMapper;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.aggregator.ArgumentsAccessor;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * RFC 9110 (semantics), 9112 (HTTP/1.1), 6454 (origin) and 9457 (problems), clause by clause: bytes
 * sent to the running server and the expected answers. In the table {@code ~} stands for the end of
 * a line. {@code Connection: close} is added to a request without {@code Connection}, so that each
 * row ends.
 */
@MicronautTest
class RawBytesTest extends ServiceTest {

    private static final JsonMapper JSON = JsonMapper.createDefault();
    private static final Pattern LENGTH = Pattern.compile("<(\\d+)>");
    private static final Pattern STATUS = Pattern.compile("HTTP/1\\.[01] (\\d{3}) ");

    private long total() {
        return service.bean(io.counterset.CounterStore.class).snapshot().values().stream()
                .mapToLong(Long::longValue)
                .sum();
    }

    /**
     * Each row has the clause, the request, the statuses in order, the expected growth of all
     * counts and, if the clause requires it, a part of the answer.
     */
    @ParameterizedTest(name = "{0}: {1}")
    @CsvSource(delimiter = '|', quoteCharacter = '`', textBlock = """
            # RFC 9112: the message
            9112 2.2 an empty line before the request is ignored | ~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9112 2.2 a line that ends with LF alone may be accepted or refused | GET /count HTTP/1.1<LF>Host: h<LF>Connection: close<LF><LF> | 200,400 | 0
            9112 2.2 white space before the first header is refused | POST /count HTTP/1.1~ X: a~Host: h~Connection: close~~ | 400 | 0
            9112 2.2 a bare CR in a header is refused | POST /count HTTP/1.1~X: a<CR>b~Host: h~Connection: close~~ | 400 | 0
            9112 2.2 a bare CR does not end a header | POST /count HTTP/1.1~X: a<CR>Content-Length: 5~Host: h~Connection: close~~ | 400 | 0
            9112 3 a bare CR in the request line may be a space | POST /count<CR> HTTP/1.1~Host: h~Connection: close~~ | 200,400 | *
            9112 2.3 another major version is refused | POST /count HTTP/2.0~Host: h~Connection: close~~ | 400,505 | 0
            9112 2.3 garbage is refused | nonsense~~ | 400 | 0
            9112 2.3 the name of the version is case-sensitive | POST /count http/1.1~Host: h~Connection: close~~ | 400 | 0
            9112 2.3 a version has one digit on each side of the dot | POST /count HTTP/1.10~Host: h~Connection: close~~ | 400 | 0
            9110 2.5 a later minor version is served as HTTP/1.1 | POST /count HTTP/1.2~Host: h~Connection: close~~ | 200 | 1
            9112 2.3 HTTP/1.0 needs no Host, and its connection ends | POST /count HTTP/1.0~~ | 200 | 1
            9112 3 a request line without a version is refused | POST /count~Host: h~~ | 400 | 0
            9112 3 two spaces may be one | POST  /count HTTP/1.1~Host: h~Connection: close~~ | 200,400 | *
            9112 3 a tab may be a space | POST<TAB>/count HTTP/1.1~Host: h~Connection: close~~ | 200,400 | *
            9112 3 there is nothing after the version | POST /count HTTP/1.1 x~Host: h~Connection: close~~ | 400 | 0
            9112 3.1 a method is a token | PO(ST /count HTTP/1.1~Host: h~Connection: close~~ | 400,501 | 0
            9112 3.2 white space in the target is refused | POST /count a HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            9112 3.2 a request without Host is refused | POST /count HTTP/1.1~Connection: close~~ | 400 | 0
            9112 3.2 a request with two Hosts is refused | POST /count HTTP/1.1~Host: a~Host: b~Connection: close~~ | 400 | 0
            9112 3.2 Host has no white space | POST /count HTTP/1.1~Host: a b~Connection: close~~ | 400 | 0
            9112 3.2 Host has no path | POST /count HTTP/1.1~Host: h/x~Connection: close~~ | 400 | 0
            9112 3.2 Host has no user information | POST /count HTTP/1.1~Host: u@h~Connection: close~~ | 400 | 0
            9112 3.2 the port of Host is a number | POST /count HTTP/1.1~Host: h:x~Connection: close~~ | 400 | 0
            9112 3.2 Host may be empty | POST /count HTTP/1.1~Host:~Connection: close~~ | 200 | 1
            9112 3.2 Host may be an IPv6 address with a port | POST /count HTTP/1.1~Host: [::1]:8080~Connection: close~~ | 200 | 1
            9112 3.2.2 the absolute form is accepted | POST http://h/count HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            9110 4.2.3 an empty path is a slash | GET http://h HTTP/1.1~Host: h~Accept: text/html~Connection: close~~ | 200 | 1
            9112 3.2.2 the host of the absolute form replaces Host | POST http://h/count HTTP/1.1~Host: i~Origin: http://h~Connection: close~~ | 200 | 1
            9112 3.2.2 Host does not make a foreign origin the same | POST http://h/count HTTP/1.1~Host: i~Origin: http://i~Connection: close~~ | 403 | 0
            9110 7.4 a target of https is refused on a connection without TLS | POST https://h/count HTTP/1.1~Host: h~Connection: close~~ | 400,421 | 0
            9110 7.4 a target of another scheme is refused | POST ftp://h/count HTTP/1.1~Host: h~Connection: close~~ | 400,421 | 0
            9112 3.2 a target is one of four forms | POST count HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            9110 4.2.1 an absolute target has a host | POST http:///count HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            9112 3.2.4 the asterisk form is for OPTIONS | POST * HTTP/1.1~Host: h~Connection: close~~ | 400,404 | 0
            9112 3.2.4 OPTIONS of the server is not supported | OPTIONS * HTTP/1.1~Host: h~Connection: close~~ | 404 | 0
            9112 3.2.3 CONNECT is not for this server | CONNECT h:80 HTTP/1.1~Host: h:80~Connection: close~~ | 400,404,405 | 0
            9112 5.1 no space between a header's name and its colon | POST /count HTTP/1.1~Host: h~X : a~Connection: close~~ | 400 | 0
            9112 5.1 no tab either | POST /count HTTP/1.1~X<TAB>: a~Host: h~Connection: close~~ | 400 | 0
            9112 5.1 white space around a value is optional | POST /count HTTP/1.1~Host:h~Connection:<TAB> close <TAB>~~ | 200 | 1
            9112 5 a header without a colon is refused | POST /count HTTP/1.1~X~Host: h~Connection: close~~ | 400 | 0
            9112 5 a header without a name is refused | POST /count HTTP/1.1~: a~Host: h~Connection: close~~ | 400 | 0
            9110 5.1 a name of a header is a token | POST /count HTTP/1.1~X(: a~Host: h~Connection: close~~ | 400 | 0
            9110 5.1 names of headers have any case | GET /count HTTP/1.1~hOSt: h~aCCEPT: text/plain~cOnNeCtIoN: close~~ | 200 | 0 | content-type: text/plain
            9112 5.2 a folded header is refused or read as spaces | POST /count HTTP/1.1~Host: h~X: a~ b~Connection: close~~ | 200,400 | *
            9112 6.1 chunked must be the last coding | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked, gzip~Connection: close~~ | 400,415,501 | 0
            9112 6.1 an unknown coding is refused | POST /count HTTP/1.1~Host: h~Transfer-Encoding: x~Connection: close~~ | 400,415,501 | 0
            9112 6.1 chunked comes once | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked, chunked~~0~~POST /count HTTP/1.1~Host: h~~ | 400,415,501 | 0
            9112 6.1 chunked hidden behind a control character | POST /count HTTP/1.1~Host: h~Transfer-Encoding: <VT>chunked~~0~~POST /count HTTP/1.1~Host: h~~ | 400,415,501 | 0
            9112 6.1 two lines are one list of codings | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~Transfer-Encoding: x~~0~~POST /count HTTP/1.1~Host: h~~ | 400,415,501 | 0
            9112 6.1 names of codings have any case | GET /count HTTP/1.1~Host: h~Transfer-Encoding: CHUNKED~~0~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 0
            9112 6.1 HTTP/1.0 has no codings, so the connection ends | POST /count HTTP/1.0~Transfer-Encoding: chunked~Connection: keep-alive~~0~~POST /count HTTP/1.0~~ | 400,415,501 | 0
            9112 6.1 chunked with a length is refused or ends the connection | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~Content-Length: 5~~0~~POST /count HTTP/1.1~Host: h~~ | 400,415 | 0
            9112 6.3 lengths that differ are refused | POST /count HTTP/1.1~Host: h~Content-Length: 1~Content-Length: 2~Connection: close~~ab | 400 | 0
            9112 6.3 a length that is no number is refused | POST /count HTTP/1.1~Host: h~Content-Length: -1~Connection: close~~ | 400 | 0
            9112 6.3 a length with a sign is refused | POST /count HTTP/1.1~Host: h~Content-Length: +1~Connection: close~~a | 400 | 0
            9112 6.3 a length in hexadecimal is refused | POST /count HTTP/1.1~Host: h~Content-Length: 0x1~Connection: close~~a | 400 | 0
            9112 6.3 an empty length is refused | POST /count HTTP/1.1~Host: h~Content-Length:~Connection: close~~ | 400 | 0
            9112 6.3 a length beyond 64 bits is refused | POST /count HTTP/1.1~Host: h~Content-Length: 18446744073709551616~Connection: close~~ | 400,413 | 0
            9112 6.3 a list of lengths that differ is refused | POST /count HTTP/1.1~Host: h~Content-Length: 0, 5~~POST /count HTTP/1.1~Host: h~~ | 400 | 0
            9112 6.3 a list of equal lengths is refused or one length | POST /count HTTP/1.1~Host: h~Content-Length: 0, 0~Connection: close~~ | 200,400 | *
            9112 6.3 a length of 0 is no body | POST /count HTTP/1.1~Host: h~Content-Length: 0~Connection: close~~ | 200 | 1
            9112 6.3 without a length or coding there is no body | POST /count HTTP/1.1~Host: h~~POST /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 2
            9112 6.3 a body that is refused is not read as a request | POST /count HTTP/1.1~Host: h~Content-Length: 33~~POST /count HTTP/1.1~Host: h~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 415 200 | 0
            9110 9.3.1 the body of a GET is not read as a request | GET /count HTTP/1.1~Host: h~Content-Length: 33~~POST /count HTTP/1.1~Host: h~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 0
            9112 7.1 extensions of chunks and trailers are ignored | GET /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~2;a=b~xy~0~T: u~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 0
            9110 6.5.1 a trailer is no header | GET /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~0~Connection: close~~GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 0
            9112 7.1 a size beyond 64 bits ends the connection | GET /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~FFFFFFFFFFFFFFFFF~~POST /count HTTP/1.1~Host: h~~ | 200,400 | 0
            9112 7.1 a chunk must end where its size says | GET /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~1~abc~0~~POST /count HTTP/1.1~Host: h~~ | 200,400 | 0
            9112 7.1 a chunk's size that is no number ends the connection | POST /count HTTP/1.1~Host: h~Transfer-Encoding: chunked~~zz~POST /count HTTP/1.1~Host: h~~ | 400,415 | 0
            9112 9.3 a connection persists | POST /count HTTP/1.1~Host: h~~POST /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 2
            9112 9.3 HTTP/1.0 does not persist, nor has to | POST /count HTTP/1.0~Connection: keep-alive~~POST /count HTTP/1.0~~ | 200 | 1
            9112 9.3 HTTP/1.1 persists with keep-alive, too | POST /count HTTP/1.1~Host: h~Connection: keep-alive~~POST /count HTTP/1.1~Host: h~Connection: close~~ | 200 200 | 2
            9112 9.3 close wins over keep-alive | POST /count HTTP/1.1~Host: h~Connection: keep-alive, close~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            9112 9.6 nothing is done after close | POST /count HTTP/1.1~Host: h~Connection: close~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            9112 9.6 close may be in any case and in a list | POST /count HTTP/1.1~Host: h~Connection: x, CLOSE~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            9112 9.6 two lines of Connection are one list | POST /count HTTP/1.1~Host: h~Connection: x~Connection: close~~POST /count HTTP/1.1~Host: h~~ | 200 | 1
            # RFC 9110: semantics
            9110 4.2.4 user information is not accepted | POST http://u:p@h/count HTTP/1.1~Host: h~Connection: close~~ | 200,400 | *
            9110 4.2.3 an escaped letter is the letter | POST /%63ount HTTP/1.1~Host: h~Connection: close~~ | 200,404 | *
            9110 5.3 a header that is no list comes once | POST /count HTTP/1.1~Idempotency-Key: a~Idempotency-Key: b~Host: h~Connection: close~~ | 400 | 0
            9110 5.3 nor as a list | POST /count HTTP/1.1~Idempotency-Key: "a", "b"~Host: h~Connection: close~~ | 400 | 0
            9110 5.5 a NUL in a header is refused | POST /count HTTP/1.1~Host: h~X: a<NUL>b~Connection: close~~ | 400 | 0
            9110 5.5 bytes beyond ASCII are opaque | POST /count HTTP/1.1~X: <FF>~Host: h~Connection: close~~ | 200 | 1
            9110 5.6.1 empty elements of a list are ignored | GET /count HTTP/1.1~Accept: ,text/plain, ,~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 7.6.1 an unknown method is not implemented | BREW /count HTTP/1.1~Host: h~Connection: close~~ | 405,501 | 0
            9110 7.6.1 Connection cannot remove another header | POST /count HTTP/1.1~Host: h~Origin: http://i~Connection: close, Origin~~ | 403 | 0
            9110 7.8 Upgrade is ignored | POST /count HTTP/1.1~Host: h~Upgrade: h2c~HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA~Connection: Upgrade, HTTP2-Settings, close~~ | 200 | 1
            9110 7.8 Upgrade to a web socket is ignored | GET /count HTTP/1.1~Host: h~Upgrade: websocket~Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==~Sec-WebSocket-Version: 13~Connection: Upgrade, close~~ | 200 | 0
            9113 3.4 the preface of HTTP/2 is refused | PRI * HTTP/2.0~~SM~~ | 400,505 | 0
            9110 8.3 a body without type is refused all the same | POST /count HTTP/1.1~Host: h~Content-Length: 2~Connection: close~~ab | 415 | 0
            9110 8.3.1 media types have any case | GET /count HTTP/1.1~Accept: TEXT/Plain~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 8.4 a coding of content is refused | POST /count HTTP/1.1~Content-Encoding: gzip~Host: h~Connection: close~~ | 415 | 0
            9110 9.1 methods are case-sensitive | post /count HTTP/1.1~Host: h~Connection: close~~ | 400,501 | 0
            9110 9.3.2 HEAD has no body | HEAD /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9110 9.3.2 HEAD has the headers of GET | HEAD /count HTTP/1.1~Accept: text/plain~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 9.3.2 HEAD of a problem has no body | HEAD /nothing HTTP/1.1~Host: h~Connection: close~~ | 404 | 0
            9110 9.3.7 OPTIONS of a path | OPTIONS /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0
            9110 9.3.7 it lists the methods | OPTIONS /counts HTTP/1.1~Host: h~Connection: close~~ | 200 | 0 | allow:
            9110 9.3.8 TRACE is refused | TRACE /count HTTP/1.1~Host: h~Connection: close~~ | 405,501 | 0
            9110 10.1.1 Expect is answered finally at once | POST /count HTTP/1.1~Host: h~Expect: 100-continue~Content-Length: 5~~ | 415 | 0
            9110 10.1.1 another expectation | POST /count HTTP/1.1~Host: h~Expect: x~Connection: close~~ | 200,417 | *
            9110 10.1.1 HTTP/1.0 expects nothing | POST /count HTTP/1.0~Expect: 100-continue~~ | 200 | 1
            9110 10.1.1 nothing to continue with | POST /count HTTP/1.1~Expect: 100-continue~Host: h~Connection: close~~ | 200 | 1
            9110 12.5.1 a malformed Accept | GET /count HTTP/1.1~Host: h~Accept: ;;q=~Connection: close~~ | 200,400,406 | 0
            9110 12.5.1 qualities | GET /count HTTP/1.1~Host: h~Accept: text/plain;q=0~Connection: close~~ | 406 | 0
            9110 12.5.1 the smallest quality is acceptable | GET /count HTTP/1.1~Accept: text/plain;q=0.001~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 12.5.1 the name of the quality has any case | GET /count HTTP/1.1~Accept: application/json;Q=0, text/plain;Q=0.5~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 12.5.1 a specific range comes before a general one | GET /count HTTP/1.1~Accept: */*, application/json;q=0~Host: h~Connection: close~~ | 200 | 0 | content-type: text/plain
            9110 12.5.1 nothing is acceptable | GET /count HTTP/1.1~Accept: */*;q=0~Host: h~Connection: close~~ | 406 | 0
            9110 12.5.2 Accept-Charset is ignored | GET /count HTTP/1.1~Accept-Charset: x~Host: h~Connection: close~~ | 200 | 0
            9110 12.5.3 no coding is preferred to none | GET /count HTTP/1.1~Accept-Encoding: identity~Host: h~Connection: close~~ | 200 | 0
            9110 12.5.4 Accept-Language is ignored | GET /count HTTP/1.1~Accept-Language: de, *;q=0~Host: h~Connection: close~~ | 200 | 0
            9110 12.5.5 Vary names what selected the answer | GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0 | vary: accept
            9111 5.2.2.5 a count is not stored | GET /count HTTP/1.1~Host: h~Connection: close~~ | 200 | 0 | cache-control: no-store
            9110 13.1.1 If-Match of any representation | POST /count HTTP/1.1~If-Match: *~Host: h~Connection: close~~ | 200 | 1
            9110 13.1.1 If-Match of another representation | POST /count HTTP/1.1~If-Match: "x"~Host: h~Connection: close~~ | 412 | 0
            9110 13.1.2 If-None-Match of any representation | POST /count HTTP/1.1~If-None-Match: *~Host: h~Connection: close~~ | 412 | 0
            9110 13.1.2 If-None-Match of any representation on a read | GET /count HTTP/1.1~If-None-Match: *~Host: h~Connection: close~~ | 304 | 0 | cache-control: no-store
            9110 13.1.2 a visit with a false condition is not counted | GET / HTTP/1.1~If-None-Match: *~Host: h~Connection: close~~ | 304 | 0 | vary: accept
            9110 13.1.2 HEAD has the conditions of GET | HEAD /count HTTP/1.1~If-None-Match: *~Host: h~Connection: close~~ | 304 | 0
            9110 13.1.2 a connection continues after a false condition | GET /count HTTP/1.1~If-None-Match: *~Host: h~~POST /count HTTP/1.1~Host: h~Connection: close~~ | 304 200 | 1
            9110 13.1.2 If-None-Match of another representation | GET /count HTTP/1.1~If-None-Match: "x"~Host: h~Connection: close~~ | 200 | 0
            9110 13.1.3 If-Modified-Since is ignored without a date | GET /count HTTP/1.1~If-Modified-Since: Wed, 25 Nov 2037 00:00:00 GMT~Host: h~Connection: close~~ | 200 | 0
            9110 13.1.4 If-Unmodified-Since is ignored without a date | POST /count HTTP/1.1~If-Unmodified-Since: Wed, 25 Nov 1987 00:00:00 GMT~Host: h~Connection: close~~ | 200 | 1
            9110 13.2.1 a condition comes after the usual checks | POST /count?by=0 HTTP/1.1~If-Match: "x"~Host: h~Connection: close~~ | 400 | 0
            9110 12.5.1 several Accept lines are one list | GET /count HTTP/1.1~Host: h~Accept: image/png~Accept: text/plain~Connection: close~~ | 200 | 0
            9110 14.2 a Range is ignored | GET /count HTTP/1.1~Host: h~Range: bytes=0-1~Connection: close~~ | 200 | 0
            9110 15.5.15 a long request line | GET /<4500> HTTP/1.1~Host: h~~ | 414 | 0
            6585 5 large headers | GET /count HTTP/1.1~Host: h~X: <9000>~~ | 431 | 0
            6585 5 a long name of a header | GET /count HTTP/1.1~<9000>: x~Host: h~~ | 431 | 0
            6585 5 many headers | GET /count HTTP/1.1~<2500 headers>Host: h~~ | 431 | 0
            # RFC 3986: the target
            3986 2.1 a broken percent sign | POST /count/a%zz HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 2.1 a broken percent sign in the query | POST /count?by=%zz HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 2.1 a percent sign at the end | POST /count/a% HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 2.1 hexadecimal digits have any case | POST /count/%c3%A9 HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            3986 2.2 an escaped slash is part of the name | POST /count/a%2Fb HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            3986 2 bytes beyond ASCII are refused | POST /count/<FF> HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 2 nor in the query | POST /count?by=<FF> HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3629 3 the name is UTF-8 | POST /count/%FF HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3629 3 overlong forms are not UTF-8 | POST /count/%C0%AF HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3629 3 halves of surrogate pairs are not UTF-8 | POST /count/%ED%A0%80 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 3.3 an empty segment is no name | POST /count/ HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 3.3 nor is an empty first segment ignored | POST //count HTTP/1.1~Host: h~Connection: close~~ | 400,404 | 0
            3986 3.3 parameters of a segment are part of the name | POST /count/a;v=1 HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            3986 3.4 an empty query | POST /count? HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            3986 3.4 a second question mark is part of the query | POST /count?by=1?x HTTP/1.1~Host: h~Connection: close~~ | 400 | 0
            3986 3.5 a fragment is not sent | POST /count#a HTTP/1.1~Host: h~Connection: close~~ | 200,400,404 | *
            3986 6.2.2 dots are not resolved into another path | POST /x/../count HTTP/1.1~Host: h~Connection: close~~ | 400,404 | 0
            # RFC 6454: origin
            6454 7.2 the same origin | POST /count HTTP/1.1~Host: h~Origin: http://h~Connection: close~~ | 200 | 1
            6454 7.2 another origin | POST /count HTTP/1.1~Host: h~Origin: http://i~Connection: close~~ | 403 | 0
            6454 7.3 an opaque origin | POST /count HTTP/1.1~Host: h~Origin: null~Connection: close~~ | 403 | 0
            6454 7.3 a malformed origin | POST /count HTTP/1.1~Host: h~Origin: ://~Connection: close~~ | 403 | 0
            6454 7.3 another port | POST /count HTTP/1.1~Host: h:1~Origin: http://h:2~Connection: close~~ | 403 | 0
            6454 4 the default port is no difference | POST /count HTTP/1.1~Host: h~Origin: http://h:80~Connection: close~~ | 200 | 1
            6454 4 the default port is that of the scheme | POST /count HTTP/1.1~Host: h~Origin: http://h:443~Connection: close~~ | 403 | 0
            6454 5 the default ports of two schemes differ | POST /count HTTP/1.1~Host: h:443~Origin: http://h~Connection: close~~ | 403 | 0
            6454 5 another scheme on the same port | POST /count HTTP/1.1~Host: h~Origin: ftp://h~Connection: close~~ | 403 | 0
            6454 4 hosts have any case | POST /count HTTP/1.1~Host: h~Origin: http://H~Connection: close~~ | 200 | 1
            6454 4 an IPv6 address | POST /count HTTP/1.1~Host: [::1]:80~Origin: http://[::1]~Connection: close~~ | 200 | 1
            6454 7.2 a list of origins | POST /count HTTP/1.1~Host: h~Origin: http://h http://i~Connection: close~~ | 403 | 0
            6454 7.2 two lines of Origin | POST /count HTTP/1.1~Host: h~Origin: http://h~Origin: http://i~Connection: close~~ | 403 | 0
            6454 7.1 an origin has no path | POST /count HTTP/1.1~Host: h~Origin: http://h/x~Connection: close~~ | 403 | 0
            6454 7.1 an origin has no user information | POST /count HTTP/1.1~Host: h~Origin: http://u@h~Connection: close~~ | 403 | 0
            6454 7.1 an empty origin | POST /count HTTP/1.1~Host: h~Origin:~Connection: close~~ | 403 | 0
            6454 7.3 a host that is not named is not the same | POST /count HTTP/1.0~Origin: http://null~~ | 403 | 0
            6454 7.3 nor is an empty one | POST /count HTTP/1.1~Host:~Origin: http://~Connection: close~~ | 403 | 0
            6454 GET of another origin reads nothing that it may not | GET /count HTTP/1.1~Host: localhost~Origin: http://i~Connection: close~~ | 200 | 0
            7239 a malformed Forwarded | POST /count HTTP/1.1~Host: localhost~Origin: http://localhost~Forwarded: for=;;~Connection: close~~ | 200 | 1
            # The OpenAPI document
            openapi by is at least 1 | POST /count?by=0 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-amount
            openapi by is at most counter.max-amount | POST /count?by=1000001 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-amount
            openapi by may be counter.max-amount | POST /count?by=1000000 HTTP/1.1~Host: h~Connection: close~~ | 200 | 1000000
            openapi by comes once | POST /count?by=1&by=1 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-amount
            openapi by has a value | POST /count?by HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-amount
            openapi there is no other parameter | POST /count?BY=2 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-request
            openapi a key has at most 255 characters | POST /count HTTP/1.1~Idempotency-Key: <256>~Host: h~Connection: close~~ | 400 | 0 | bad-idempotency-key
            openapi a key of 255 characters | POST /count HTTP/1.1~Idempotency-Key: <255>~Host: h~Connection: close~~ | 200 | 1
            openapi an empty key | POST /count HTTP/1.1~Idempotency-Key: ""~Host: h~Connection: close~~ | 400 | 0 | bad-idempotency-key
            openapi a name has at most 128 bytes | POST /count/<129> HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-counter-name
            openapi a name of 128 bytes | POST /count/<128> HTTP/1.1~Host: h~Connection: close~~ | 200 | 1
            openapi a name has no control characters | POST /count/a%0Ab HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-counter-name
            openapi limit is at least 1 | GET /counts?limit=0 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-page
            openapi limit is at most 1000 | GET /counts?limit=1001 HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-page
            openapi unit is one of three | GET /history?unit=week HTTP/1.1~Host: h~Connection: close~~ | 400 | 0 | bad-request
            openapi another replica | POST /count HTTP/1.1~Counterset-Instance: app-1~Host: h~Connection: close~~ | 421 | 0 | misdirected
            openapi this replica | POST /count HTTP/1.1~Counterset-Instance: app-0~Host: h~Connection: close~~ | 200 | 1 | counterset-instance: app-0
            openapi a body | POST /count HTTP/1.1~Content-Length: 1~Host: h~Connection: close~~x | 415 | 0 | body-not-taken
            openapi a large body | POST /count HTTP/1.1~Content-Length: 20000~Host: h~Connection: close~~x | 413 | 0 | too-large
            """)
    void isAnsweredAsTheClauseRequires(ArgumentsAccessor row) throws Exception {
        String request = row.getString(1);
        String[] wanted = row.getString(2).split(" ", -1);
        String counted = row.getString(3);
        long before = total();
        String answer;
        try (Raw raw = new Raw(service.port())) {
            answer = raw.send(bytes(request)).readToEnd();
        }
        List<String> found =
                STATUS.matcher(answer).results().map(m -> m.group(1)).toList();
        assertThat(found).as(answer).hasSize(wanted.length);
        for (int i = 0; i < wanted.length; i++) {
            assertThat(wanted[i].split(",", -1)).as(answer).contains(found.get(i));
        }
        if (!counted.equals("*")) {
            assertThat(total() - before).as(answer).isEqualTo(Long.parseLong(counted));
        }
        if (row.size() > 4) {
            assertThat(answer).containsIgnoringCase(row.getString(4));
        }
        int end = answer.indexOf("\r\n\r\n");
        String head = answer.substring(0, end).toLowerCase(Locale.ROOT);
        assertThat(head)
                .as("9110 5.6.7 and 6.6.1: Date")
                .containsPattern("\r\ndate: \\w{3}, \\d\\d \\w{3} \\d{4} \\d\\d:\\d\\d:\\d\\d gmt(\r|$)");
        assertThat(head).as("9110 10.2.4: no version to look for weaknesses of").doesNotContain("\r\nserver:");
        if (request.startsWith("HEAD")) {
            assertThat(answer).as("9110 9.3.2").hasSize(end + 4);
        } else if (found.get(0).equals("304")) {
            assertThat(head).as("9110 8.6: the length is that of a 200").doesNotContain("\r\ncontent-length:");
        } else {
            assertThat(head).as("9112 6.3: one length").containsOnlyOnce("\r\ncontent-length: ");
            assertThat(head).as("9112 6.1: no coding").doesNotContain("\r\ntransfer-encoding:");
        }
        int last = answer.lastIndexOf("HTTP/1.1 ");
        assertThat(answer.substring(last, answer.indexOf("\r\n\r\n", last)))
                .as("9112 9.6: the last answer ends the connection")
                .containsIgnoringCase("\r\nconnection: close");
        if (found.get(0).equals("405")) {
            assertThat(head).as("9110 15.5.6: Allow").contains("\r\nallow: ");
        }
        if (!found.get(0).startsWith("2") && !found.get(0).equals("304")) {
            assertThat(head).as("9457 3: media type").contains("\r\ncontent-type: application/problem+json");
            if (!request.startsWith("HEAD")) {
                requireProblem(answer.substring(end + 4), Integer.parseInt(found.get(0)));
            }
        }
    }

    private static String bytes(String request) {
        String bytes = request.replace("~", "\r\n")
                .replace("<LF>", "\n")
                .replace("<CR>", "\r")
                .replace("<TAB>", "\t")
                .replace("<VT>", "\u000B")
                .replace("<NUL>", "\0")
                .replace("<FF>", "\u00FF")
                .replace("<2500 headers>", "X: a\r\n".repeat(2_500));
        return LENGTH.matcher(bytes).replaceAll(length -> "a".repeat(Integer.parseInt(length.group(1))));
    }

    private static void requireProblem(String body, int status) throws Exception {
        JsonNode problem = Objects.requireNonNull(JSON.readValue(body, JsonNode.class));
        Problem.Type type = Arrays.stream(Problem.Type.values())
                .filter(known -> known.toString().equals(problem.get("type").getStringValue()))
                .findFirst()
                .orElseThrow();
        assertThat(problem.get("title").getStringValue())
                .as("9457 3.1.3: the title is that of the type")
                .isEqualTo(type.title());
        assertThat(problem.get("status").getIntValue())
                .as("9457 3.1.2: the status is that of the answer")
                .isEqualTo(status);
        assertThat(problem.get("increment").getStringValue()).isEqualTo("not-applied");
    }

    /** The answer to a request is the same however its bytes are split. */
    @Test
    void theAnswerDoesNotDependOnHowARequestIsSplit() throws Exception {
        String request = "POST /count/pieces HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\nConnection: close\r\n\r\n";
        for (int cut = 1; cut < request.length(); cut += 3) {
            try (Raw raw = new Raw(service.port())) {
                raw.send(request.substring(0, cut));
                Thread.onSpinWait();
                assertThat(raw.send(request.substring(cut)).readToEnd()).startsWith("HTTP/1.1 200 ");
            }
        }
    }
}
