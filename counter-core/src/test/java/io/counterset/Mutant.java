// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import javax.tools.FileObject;
import javax.tools.ForwardingJavaFileManager;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileManager;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.jspecify.annotations.NullMarked;

/**
 * A module with a deliberate fault: its sources, changed and compiled in memory, in a class loader
 * that also holds the tests. So production code needs no switch for tests, and the tests run
 * unchanged.
 */
public final class Mutant {

    private final Map<String, String> sources = new LinkedHashMap<>();
    private final List<String> loadedApart = new ArrayList<>(List.of("io.counterset."));

    /**
     * Replaces a piece of the source of a class of this module. The piece must occur exactly once.
     */
    public Mutant change(Class<?> type, String from, String to) {
        String source = sources.computeIfAbsent(type.getName(), Mutant::source);
        int at = source.indexOf(from);
        if (at < 0 || source.indexOf(from, at + 1) >= 0) {
            throw new IllegalStateException(type.getSimpleName() + ".java has " + (at < 0 ? "no" : "more than one")
                    + " piece to break:\n" + from + "\nThe class has changed: adapt the break.");
        }
        sources.put(type.getName(), source.replace(from, to));
        return this;
    }

    /**
     * Also defines the classes whose names have this prefix in the mutant's class loader. A library
     * that looks up classes of this project by itself needs that.
     */
    public Mutant with(String prefix) {
        loadedApart.add(prefix);
        return this;
    }

    private static Path file(String type) {
        return Path.of(type.replace('.', '/') + ".java");
    }

    private static String source(String type) {
        try {
            return Files.readString(Path.of("src/main/java").resolve(file(type)));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Returns a class of this project, such as a test, linked against the broken classes. */
    public Class<?> load(Class<?> type) throws ClassNotFoundException {
        return load(type, code -> code);
    }

    /**
     * Like {@link #load(Class)}, but rewrites the byte code of every class that the mutant's class
     * loader defines.
     */
    Class<?> load(Class<?> type, UnaryOperator<byte[]> rewrite) throws ClassNotFoundException {
        return new Loader(compile(), rewrite, List.copyOf(loadedApart)).loadClass(type.getName());
    }

    private Map<String, byte[]> compile() {
        if (sources.isEmpty()) {
            return Map.of();
        }
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        StringWriter messages = new StringWriter();
        Map<String, ByteArrayOutputStream> compiled = new HashMap<>();
        List<JavaFileObject> units = sources.entrySet().stream()
                .map(unit -> (JavaFileObject) new Source(unit.getKey(), unit.getValue()))
                .toList();
        List<String> options = List.of(
                "-proc:none",
                "-classpath",
                String.join(
                        System.getProperty("path.separator"),
                        place(Mutant.class, CounterStore.class),
                        place(Mutant.class, NullMarked.class),
                        System.getProperty("java.class.path")));
        try (JavaFileManager files =
                new ForwardingJavaFileManager<>(compiler.getStandardFileManager(null, null, null)) {
                    @Override
                    public JavaFileObject getJavaFileForOutput(
                            Location location, String name, JavaFileObject.Kind kind, FileObject sibling) {
                        ByteArrayOutputStream out = new ByteArrayOutputStream();
                        compiled.put(name, out);
                        return new SimpleJavaFileObject(URI.create("mem:///" + name.replace('.', '/')), kind) {
                            @Override
                            public OutputStream openOutputStream() {
                                return out;
                            }
                        };
                    }
                }) {
            if (!compiler.getTask(messages, files, null, options, null, units).call()) {
                throw new IllegalStateException("the broken class does not compile:\n" + messages);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        Map<String, byte[]> classes = new HashMap<>();
        compiled.forEach((name, out) -> classes.put(name, out.toByteArray()));
        return classes;
    }

    private static String place(Class<?> by, Class<?> type) {
        try {
            return Path.of(type.getProtectionDomain()
                            .getCodeSource()
                            .getLocation()
                            .toURI())
                    .toString();
        } catch (java.net.URISyntaxException e) {
            throw new IllegalStateException(by.getName(), e);
        }
    }

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String type, String text) {
            super(URI.create("mem:///" + file(type)), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    /**
     * Defines all classes of this project again, so that they see each other; shares all other
     * classes.
     */
    private static final class Loader extends ClassLoader {
        private final Map<String, byte[]> broken;
        private final UnaryOperator<byte[]> rewrite;
        private final List<String> apart;

        Loader(Map<String, byte[]> broken, UnaryOperator<byte[]> rewrite, List<String> apart) {
            super(Mutant.class.getClassLoader());
            this.apart = apart;
            this.broken = broken;
            this.rewrite = rewrite;
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                if (apart.stream().noneMatch(name::startsWith)) {
                    return super.loadClass(name, resolve);
                }
                Class<?> loaded = findLoadedClass(name);
                if (loaded == null) {
                    byte[] code = rewrite.apply(broken.containsKey(name) ? broken.get(name) : original(name));
                    loaded = defineClass(name, code, 0, code.length);
                }
                return loaded;
            }
        }

        private byte[] original(String name) throws ClassNotFoundException {
            try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                if (in == null) {
                    throw new ClassNotFoundException(name);
                }
                return in.readAllBytes();
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }
    }
}
