import com.fluenda.parcefone.parser.CEFParser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Reads CEF records (one a line) with ParCEFone, writes the extension of each as one JSON object of texts a line. */
class Parse {
    static final Pattern ESCAPE = Pattern.compile("\\\\([\\\\=nr])");

    public static void main(String[] args) throws Exception {
        var parser = new CEFParser();
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        for (String line; (line = in.readLine()) != null;) {
            var json = new StringBuilder();
            for (var pair : new TreeMap<>(parser.parse(line, false).getExtension(true, false)).entrySet()) {
                json.append(json.length() == 0 ? "{" : ",").append(quoted(pair.getKey())).append(":").append(quoted(text(pair.getValue())));
            }
            out.println(json.append("}"));
        }
    }

    /** It gives typed values, and texts with their escapes: we want the text that was meant. */
    static String text(Object value) {
        if (value instanceof Date date) return String.valueOf(date.getTime());
        if (value instanceof InetAddress address) return address.getHostAddress();
        return ESCAPE.matcher(value.toString()).replaceAll(found -> Matcher.quoteReplacement(switch (found.group(1)) {
            case "n" -> "\n";
            case "r" -> "\r";
            default -> found.group(1);
        }));
    }

    static String quoted(String text) {
        var json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c < ' ' || c == '"' || c == '\\') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }
}
