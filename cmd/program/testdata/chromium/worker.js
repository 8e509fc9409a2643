// Shows every encoded frame to the page and passes it on as it is.
onrtctransform = async ({transformer}) => {
  const {side} = transformer.options;
  await transformer.readable.pipeThrough(new TransformStream({
    transform(frame, out) {
      postMessage({side, type: frame.type, data: frame.data.slice(0)});
      out.enqueue(frame);
    },
  })).pipeTo(transformer.writable);
};
