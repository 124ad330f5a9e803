// Reads delimited frames with parseDelimitedFrom, by the descriptor in the file that is its argument. See __init__.py.

import com.google.protobuf.DescriptorProtos.FileDescriptorSet;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FileDescriptor;
import com.google.protobuf.ByteString;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.Message;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

public class Reader {
    public static void main(String[] arguments) throws Exception {
        FileDescriptorSet files = FileDescriptorSet.parseFrom(Files.readAllBytes(Path.of(arguments[0])));
        FileDescriptor file = FileDescriptor.buildFrom(files.getFile(0), new FileDescriptor[0]);
        Descriptor frames = file.findMessageTypeByName("Frame");
        InputStream in = new BufferedInputStream(System.in);
        ByteArrayOutputStream told = new ByteArrayOutputStream();
        PrintStream out = new PrintStream(told, false, "UTF-8");
        try {
            DynamicMessage.Builder builder = DynamicMessage.newBuilder(frames);
            while (builder.mergeDelimitedFrom(in)) {
                out.println(line((Message) builder.build().getField(frames.findFieldByName("message"))));
                builder = DynamicMessage.newBuilder(frames);
            }
        } catch (java.io.IOException error) {
            out.println("error: " + error.getMessage());
        }
        out.flush();
        System.out.write(told.toByteArray());
        System.out.flush();
    }

    static Object field(Message of, String name) {
        return of.getField(of.getDescriptorForType().findFieldByName(name));
    }

    static String number(Message of, String name) {
        return Long.toUnsignedString((Long) field(of, name));
    }

    static String line(Message message) {
        Message about = (Message) field(message, "about");
        StringBuilder line = new StringBuilder();
        for (String name : List.of("stream", "id", "settled")) {
            line.append(number(message, name)).append(' ');
        }
        line.append(field(message, "from_id")).append('/').append(field(message, "from_device")).append(' ');
        line.append(field(message, "dest_id")).append(' ');
        line.append(((EnumValueDescriptor) field(message, "kind")).getNumber()).append(' ');
        line.append(number(message, "stamp")).append(' ');
        for (byte one : ((ByteString) field(message, "body")).toByteArray()) {
            line.append(String.format("%02x", one));
        }
        List<?> ids = (List<?>) field(about, "ids");
        line.append(' ').append(number(about, "stream")).append(' ').append(ids.size());
        line.append(' ').append(field(about, "from_device"));
        for (Object id : ids) {
            line.append(' ').append(Long.toUnsignedString((Long) id));
        }
        return line.toString();
    }
}
