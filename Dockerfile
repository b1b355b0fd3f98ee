# The service's image. Build the application first, then the image, with docker or with buildah, which needs no daemon:
#
#   mvn -q -DskipTests -pl counter-app -am package
#   docker build -t counter-app:0.1.0 .
#   buildah build --isolation chroot -t counter-app:0.1.0 .
#
# BASE is a Java 25 runtime with a shell and coreutils; the cache below belongs to exactly that runtime.
ARG BASE=docker.io/library/eclipse-temurin:25-jre

FROM ${BASE} AS trained
WORKDIR /app
COPY counter-app/target/lib/ lib/
COPY counter-app/target/counter-app.jar ./
# The cache remembers every jar's modification time, so all get one that copying to the next stage keeps.
RUN find /app -exec touch -h -d @1 {} +
# The service runs for some seconds, and what the JVM loads and links meanwhile saves the next start most of its work.
# Not recorded is which methods were hot: told of them, the compiler would take the processor from the start to speed up what comes
# later, and the process would be some 15 MB larger for as long as it lives.
RUN java -XX:+UnlockDiagnosticVMOptions -XX:-AOTRecordTraining -XX:AOTCacheOutput=/app/counter-app.aot -cp /app/counter-app.jar io.counterset.app.Training \
 && rm -rf /tmp/* && touch -d @1 counter-app.aot

FROM ${BASE}
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="counter-app" \
      org.opencontainers.image.description="Durable per-instance counters over HTTP, one volume and one count a replica" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# Libraries change less often than the application, and the cache with either: an upgrade loads the second layer only.
COPY --from=trained /app/lib/ /app/lib/
COPY --from=trained /app/counter-app.jar /app/counter-app.aot /app/
# A cache that is refused costs nothing but the time it should save, and would do so in silence. Here it ends the build.
RUN java -XX:AOTMode=on -XX:AOTCache=/app/counter-app.aot -cp /app/counter-app.jar io.counterset.app.Application --version \
 && mkdir /data && chown 10001:10001 /data
# Two arenas of native memory rather than eight a processor: about 5 MB less stays resident.
ENV COUNTER_DIRECTORY=/data LANG=C.UTF-8 MALLOC_ARENA_MAX=2
# The volume: "kubectl exec POD -- cat count.txt" prints the count.
WORKDIR /data
USER 10001:10001
EXPOSE 8080
# No collector and no memory here: they come in JAVA_TOOL_OPTIONS, and a second choice of collector would stop the JVM.
ENTRYPOINT ["java", "-XX:AOTCache=/app/counter-app.aot", "-Xlog:aot=off", "-cp", "/app/counter-app.jar", "io.counterset.app.Application"]
